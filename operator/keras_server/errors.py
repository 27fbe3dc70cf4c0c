"""Errors of requests. Each has a code, which a front translates into its own protocol."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class ErrorCode(StrEnum):
    """Why a request has no response."""

    INVALID_REQUEST = "invalid_request"
    UNKNOWN_MODEL = "unknown_model"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    OVERLOADED = "overloaded"
    NOT_READY = "not_ready"
    INFERENCE_FAILED = "inference_failed"
    INTERNAL = "internal"
    CANCELLED = "cancelled"
    """The client closed the connection before its response. Only metrics contain this code."""


class ServerError(Exception):
    """Base of the errors whose text is for the client."""

    code: ClassVar[ErrorCode]


class InvalidRequestError(ServerError):
    """The request cannot be decoded, or does not fit the model."""

    code = ErrorCode.INVALID_REQUEST


class UnknownModelError(ServerError):
    """The request is for a model or a version that this server does not have."""

    code = ErrorCode.UNKNOWN_MODEL


class SlowRequestError(ServerError):
    """The request's body did not arrive in time."""

    code = ErrorCode.TIMEOUT


class TooLargeError(ServerError):
    """The request exceeds the maximum size."""

    code = ErrorCode.TOO_LARGE

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"the body exceeds {max_bytes} bytes: send fewer rows, or increase the server's option --max-body-bytes"
        )


class UnsupportedEncodingError(ServerError):
    """The request's body has a content coding that this server does not have."""

    code = ErrorCode.UNSUPPORTED_ENCODING


class OverloadedError(ServerError):
    """The server has reached its maximum number of requests, or of their bytes."""

    code = ErrorCode.OVERLOADED


class NotReadyError(ServerError):
    """The model is not loaded yet, or has failed its warm-up."""

    code = ErrorCode.NOT_READY


class InferenceError(ServerError):
    """The runtime failed while it ran the model."""

    code = ErrorCode.INFERENCE_FAILED


class InternalError(ServerError):
    """An unexpected error of the server itself."""

    code = ErrorCode.INTERNAL

    def __init__(self) -> None:
        super().__init__("internal error; see the server's log")
