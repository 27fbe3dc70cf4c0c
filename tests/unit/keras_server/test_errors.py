"""Every error has its HTTP status."""

from __future__ import annotations

import pytest

from keras_server import errors
from keras_server.errors import ServerError, headers_of, status_of


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (errors.InvalidRequestError(""), 400, False),
        (errors.UnknownModelError(""), 404, False),
        (errors.SlowRequestError(""), 408, False),
        (errors.TooLargeError(""), 413, False),
        (errors.OverloadedError(""), 429, True),
        (errors.NotReadyError(""), 503, True),
        (errors.InferenceError(""), 500, False),
        (ZeroDivisionError(), 500, False),
    ],
)
def test_an_error_has_a_status_and_says_whether_to_retry(error: Exception, status: int, retry: bool) -> None:
    assert status_of(error) == status
    assert ("Retry-After" in headers_of(status_of(error))) is retry


def test_no_error_is_missing_from_the_table() -> None:
    assert set(ServerError.__subclasses__()) == set(errors.STATUS)
