"""Content codings of bodies: which one a client accepts or uses, and the codecs gzip and deflate."""

from __future__ import annotations

import zlib

from keras_server.errors import InvalidRequestError, TooLargeError, UnsupportedEncodingError

GZIP, DEFLATE, IDENTITY = "gzip", "deflate", "identity"

MIN_BYTES = 1400
"""Responses from this size on are compressed on request: a shorter one fits into one packet, and arrives no sooner.

Measured on one core of an AMD EPYC processor with float32 numbers in JSON at level 1: 1.3 KiB takes 13 us and becomes
0.51 of its size, 22 KiB takes 0.2 ms and becomes 0.46. Level 6 takes three to five times as long, and the result is
smaller by 0.02. Binary tensors of such numbers take three times as long and become 0.91, so a probe decides.
"""

LEVEL = 1

PROBE_BYTES = 16 * 1024
"""Length of the probe. Compressing it takes 0.2 ms for JSON, and 0.4 ms for binary tensors."""

_WORTHWHILE = 0.75
"""A response is sent as it is if its probe does not become smaller than this share of its size."""

# Window size of zlib, which also selects the format.
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_CODINGS = {GZIP: GZIP, "x-gzip": GZIP, DEFLATE: DEFLATE, IDENTITY: IDENTITY, "": IDENTITY}
_DEFLATE_METHOD = 8
# Each member copies what follows it, so the time for very many small ones would be quadratic.
_MAX_MEMBERS = 16


def choose(accept: str) -> str | None:
    """The coding for a response: the one that an Accept-Encoding header prefers, gzip among equals; None for none."""
    weights: dict[str, float] = {}
    for entry in accept.lower().split(","):
        coding, *parameters = (part.strip() for part in entry.split(";"))
        weights[coding] = next((_weight(each[2:]) for each in parameters if each.startswith("q=")), 1.0)
    best = max((GZIP, DEFLATE), key=lambda coding: weights.get(coding, weights.get("*", 0.0)))
    weight = weights.get(best, weights.get("*", 0.0))
    return best if weight > 0 and weight >= weights.get(IDENTITY, 0.0) else None


def compress(body: bytes, coding: str) -> bytes | None:
    """A body in a coding; None if it does not become smaller."""
    probe = _compress(body[:PROBE_BYTES], coding)
    if len(probe) > _WORTHWHILE * min(len(body), PROBE_BYTES):
        return None
    return probe if len(body) <= PROBE_BYTES else _compress(body, coding)


def coding_of(header: str) -> str:
    """The coding that a Content-Encoding header names.

    Raises:
        UnsupportedEncodingError: this server does not have the coding.
    """
    coding = _CODINGS.get(header.strip().lower())
    if coding is None:
        raise UnsupportedEncodingError(
            f"Content-Encoding {header!r} is not supported: use {GZIP} or {DEFLATE}, or send the body uncompressed"
        )
    return coding


def decompress(body: bytes, coding: str, max_bytes: int) -> bytes:
    """The content of a body.

    Raises:
        TooLargeError: the content exceeds the maximum.
        InvalidRequestError: the body is not in that coding, or is truncated.
    """
    parts: list[bytes] = []
    size = 0
    for _ in range(_MAX_MEMBERS):
        if not body:
            break
        decoder = zlib.decompressobj(_bits(body, coding))
        try:
            parts.append(decoder.decompress(body, max_bytes + 1 - size))
        except zlib.error as error:
            raise InvalidRequestError(f"the body cannot be decompressed: it is not {coding} ({error})") from error
        size += len(parts[-1])
        if size > max_bytes:
            raise TooLargeError(max_bytes)
        if not decoder.eof:
            raise InvalidRequestError(f"the body cannot be decompressed: its {coding} data is truncated")
        body = decoder.unused_data
        if body and coding != GZIP:  # only gzip has several members
            raise InvalidRequestError(f"the body cannot be decompressed: {len(body)} bytes follow its {coding} data")
    if body:
        raise InvalidRequestError(f"the body cannot be decompressed: it has more than {_MAX_MEMBERS} {GZIP} members")
    return b"".join(parts)


def _compress(data: bytes, coding: str) -> bytes:
    encoder = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_BITS if coding == GZIP else _ZLIB_BITS)
    return encoder.compress(data) + encoder.flush()


def _bits(body: bytes, coding: str) -> int:
    if coding == GZIP:
        return _GZIP_BITS
    # Some clients send deflate data without the header of zlib.
    return _ZLIB_BITS if body[0] & 0xF == _DEFLATE_METHOD else _RAW_BITS


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
