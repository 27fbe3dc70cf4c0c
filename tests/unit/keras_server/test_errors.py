"""Every error has a code, and every code an HTTP status."""

from __future__ import annotations

import pytest

from keras_server.errors import ErrorCode, ServerError
from keras_server.http_front.errors import STATUS, headers_of, status_of


@pytest.mark.parametrize(
    ("code", "status", "retry"),
    [
        (ErrorCode.INVALID_REQUEST, 400, False),
        (ErrorCode.UNKNOWN_MODEL, 404, False),
        (ErrorCode.TIMEOUT, 408, False),
        (ErrorCode.TOO_LARGE, 413, False),
        (ErrorCode.UNSUPPORTED_ENCODING, 415, False),
        (ErrorCode.OVERLOADED, 429, True),
        (ErrorCode.NOT_READY, 503, True),
        (ErrorCode.INFERENCE_FAILED, 500, False),
        (ErrorCode.INTERNAL, 500, False),
        (ErrorCode.CANCELLED, 499, False),
        (None, 200, False),
    ],
)
def test_a_code_has_a_status_and_a_time_to_retry(code: ErrorCode | None, status: int, retry: bool) -> None:
    assert status_of(code) == status
    assert ("Retry-After" in headers_of(status)) is retry


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(ErrorCode) - {ErrorCode.CANCELLED}


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in ServerError.__subclasses__()]
    assert sorted(codes) == sorted(set(ErrorCode) - {ErrorCode.CANCELLED})
