"""The HTTP status of each error of the data plane."""

from __future__ import annotations

from http import HTTPStatus

from keras_server.errors import ErrorCode

RETRY_AFTER_SECONDS = 1

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a request whose client went away before its response. Only metrics contain it."""

STATUS: dict[ErrorCode, HTTPStatus] = {
    ErrorCode.INVALID_REQUEST: HTTPStatus.BAD_REQUEST,
    ErrorCode.UNKNOWN_MODEL: HTTPStatus.NOT_FOUND,
    ErrorCode.TIMEOUT: HTTPStatus.REQUEST_TIMEOUT,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.UNSUPPORTED_ENCODING: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.OVERLOADED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.NOT_READY: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.INFERENCE_FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
CONNECTION_STATUS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.EXPECTATION_FAILED,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
)
"""The status of each request that the HTTP library rejects, besides 404."""

ENCODINGS = "gzip, deflate"
"""Content codings of requests that this server reads."""

_RETRY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


def status_of(code: ErrorCode | None) -> int:
    """The status of an error, or of a response (None)."""
    if code is None:
        return 200
    return CLIENT_CLOSED_REQUEST if code is ErrorCode.CANCELLED else STATUS[code].value


def headers_of(status: int) -> dict[str, str]:
    """Headers that belong to a status: when a retry makes sense, and which content codings do."""
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return {"Accept-Encoding": ENCODINGS}
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in _RETRY else {}
