"""What can go wrong with a request, and the one table that says which HTTP status each error becomes."""

from __future__ import annotations

from http import HTTPStatus

RETRY_AFTER_SECONDS = 1


class ServerError(Exception):
    """Base of the errors whose text is written for the client; anything else is a fault of ours and answers 500."""


class InvalidRequestError(ServerError):
    """The request cannot be understood, or does not fit the model."""


class UnknownModelError(ServerError):
    """The request asks for a model or a version that is not served here."""


class SlowRequestError(ServerError):
    """The request's body did not arrive in time."""


class TooLargeError(ServerError):
    """The request's body exceeds the bound."""


class OverloadedError(ServerError):
    """As many requests as allowed are already here."""


class NotReadyError(ServerError):
    """The model is not loaded yet, or failed its warm-up."""


class InferenceError(ServerError):
    """The runtime failed while it ran the model."""


STATUS: dict[type[Exception], HTTPStatus] = {
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    UnknownModelError: HTTPStatus.NOT_FOUND,
    SlowRequestError: HTTPStatus.REQUEST_TIMEOUT,
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    OverloadedError: HTTPStatus.TOO_MANY_REQUESTS,
    NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    InferenceError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_RETRY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


def status_of(error: Exception) -> HTTPStatus:
    """The status that answers an error; 500 for what is not in the table."""
    return STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)


def headers_of(status: HTTPStatus) -> dict[str, str]:
    """Headers that go with a status: when it is worth asking again."""
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in _RETRY else {}
