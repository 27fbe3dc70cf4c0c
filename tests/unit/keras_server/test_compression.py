"""Content codings: which one is chosen, and what is read."""

from __future__ import annotations

import gzip
import zlib

import pytest

from keras_server.errors import InvalidRequestError, TooLargeError, UnsupportedEncodingError
from keras_server.http_front import compression
from keras_server.http_front.compression import choose, coding_of, compress, decompress


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=1.0", "gzip"),
        ("deflate;q=0.5, gzip;q=0.2", "deflate"),
        ("br, *;q=0.1", "gzip"),
        ("*;q=0", None),
        ("gzip;q=0, *", "deflate"),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0, gzip;q=0.5", "gzip"),
        ("gzip;q=nan", None),
        ("gzip;q=", None),
        (" GZIP ; Q=0.3 ", "gzip"),
    ],
)
def test_the_header_chooses_the_coding(accept: str, coding: str | None) -> None:
    assert choose(accept) == coding


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [1500, 100_000])
def test_what_is_compressed_is_read_again(coding: str, size: int) -> None:
    content = b"0.5," * (size // 4)

    compressed = compress(content, coding)

    assert compressed is not None
    assert len(compressed) < len(content) / 2
    assert decompress(compressed, coding, size) == content


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_content_is_limited_to_the_byte(coding: str) -> None:
    compressed = compress(b"0" * 5000, coding) or b""

    assert len(decompress(compressed, coding, 5000)) == 5000
    with pytest.raises(TooLargeError):
        decompress(compressed, coding, 4999)


def test_the_limit_is_for_all_members() -> None:
    with pytest.raises(TooLargeError):
        decompress(gzip.compress(b"0" * 3000) * 2, "gzip", 5999)


def test_a_truncated_body_is_an_error_at_every_byte() -> None:
    for complete, coding in ((gzip.compress(b"[1, 2]"), "gzip"), (zlib.compress(b"[1, 2]"), "deflate")):
        for length in range(1, len(complete)):
            with pytest.raises(InvalidRequestError, match="the body cannot be decompressed"):
                decompress(complete[:length], coding, 100)


def test_an_empty_body_is_empty_in_every_coding() -> None:
    assert decompress(b"", "gzip", 100) == b""


def test_the_codings_of_the_header_are_those_that_are_read() -> None:
    from keras_server.http_front.errors import ENCODINGS

    assert [coding_of(coding) for coding in ENCODINGS.split(", ")] == [compression.GZIP, compression.DEFLATE]
    with pytest.raises(UnsupportedEncodingError):
        coding_of("br")
