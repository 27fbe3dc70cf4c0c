"""Requests and bytes are counted at the door."""

from __future__ import annotations

import pytest

from keras_server.admission import Admission
from keras_server.errors import OverloadedError


async def test_one_request_too_many_is_turned_away_until_another_leaves() -> None:
    admission = Admission(max_requests=1, max_bytes=100)

    with admission.admit(10):
        with pytest.raises(OverloadedError, match="1 requests are being answered"), admission.admit(10):
            pass
        assert admission.requests == 1
    with admission.admit(10):
        assert admission.requests == 1


async def test_bytes_are_bounded_too_but_a_request_alone_always_has_room() -> None:
    admission = Admission(max_requests=9, max_bytes=100)

    with admission.admit(1000):
        assert admission.requests == 1
    with (
        admission.admit(60),
        pytest.raises(OverloadedError, match="requests of 60 bytes are being answered"),
        admission.admit(60),
    ):
        pass


async def test_a_request_that_fails_leaves_as_well() -> None:
    admission = Admission(max_requests=1, max_bytes=100)

    with pytest.raises(ZeroDivisionError), admission.admit(10):
        raise ZeroDivisionError

    await admission.idle()
    assert admission.requests == 0
