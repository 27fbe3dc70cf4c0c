"""Requests and their bytes are limited before their bodies are read."""

from __future__ import annotations

import pytest

from keras_server.admission import Admission
from keras_server.errors import OverloadedError, TooLargeError


async def test_one_request_too_many_is_rejected_until_another_one_ends() -> None:
    admission = Admission(max_requests=1, max_bytes=100, max_request_bytes=1000)

    with admission.admit(10):
        with (
            pytest.raises(OverloadedError, match="1 requests are in flight, which is"),
            admission.admit(10),
        ):
            pass
        assert admission.requests == 1
    with admission.admit(10):
        assert admission.requests == 1


async def test_bytes_are_bounded_too_but_a_request_alone_is_always_admitted() -> None:
    admission = Admission(max_requests=9, max_bytes=100, max_request_bytes=1000)

    with admission.admit(1000):
        assert admission.requests == 1
    with (
        admission.admit(60),
        pytest.raises(OverloadedError, match="requests of 60 bytes are in flight"),
        admission.admit(60),
    ):
        pass


async def test_a_request_that_fails_ends_as_well() -> None:
    admission = Admission(max_requests=1, max_bytes=100, max_request_bytes=1000)

    with pytest.raises(ZeroDivisionError), admission.admit(10):
        raise ZeroDivisionError

    await admission.idle()
    assert admission.requests == 0


async def test_a_request_of_unknown_size_counts_as_the_largest_one() -> None:
    admission = Admission(max_requests=9, max_bytes=100, max_request_bytes=90)

    with admission.admit(20), pytest.raises(OverloadedError), admission.admit(None):
        pass


async def test_a_request_that_exceeds_the_maximum_size_is_rejected() -> None:
    admission = Admission(max_requests=9, max_bytes=100, max_request_bytes=90)

    with pytest.raises(TooLargeError, match="the body exceeds 90 bytes"), admission.admit(91):
        pass
    assert admission.requests == 0
