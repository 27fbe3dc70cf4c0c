"""Names and versions that a request may use."""

from __future__ import annotations

import pytest

from keras_server.model import version_number


@pytest.mark.parametrize(
    ("revision", "number"),
    [("00000000ff", "255"), ("ffffffffff", "1099511627775"), ("1234567890", "78187493520"), ("by-hand", "1")],
)
def test_a_revision_has_a_number_that_fits_int64(revision: str, number: str) -> None:
    assert version_number(revision) == number
