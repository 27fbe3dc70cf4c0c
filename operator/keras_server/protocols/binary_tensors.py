"""Binary tensors: numbers are little-endian, row by row; a string is its length in four bytes, and its bytes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from keras_runtimes.arrays import Array, object_array
from keras_server.errors import InvalidRequestError

_BYTES_LENGTH = struct.Struct("<I")


def read_numbers(data: memoryview, dtype: np.dtype[Any]) -> Array:
    """The numbers in binary data whose length fits the type, as an array of one axis."""
    if dtype == np.bool_:
        # Any byte but 0 and 1 is an invalid bool in memory.
        truths: Array = np.frombuffer(data, np.uint8) != 0
        return truths
    array = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False)
    # The JSON in front may have any length, and runtimes expect aligned memory.
    return array if array.flags.aligned else array.copy()


def read_bfloat16(data: memoryview, dtype: np.dtype[Any]) -> Array:
    """bfloat16 numbers in a wider type, which has all their values. A bfloat16 is the upper half of a float32."""
    halves = np.frombuffer(data, "<u2").astype(np.uint32)
    return (halves << 16).view(np.float32).astype(dtype, copy=False)


def read_strings(data: memoryview, name: str) -> Array:
    """The strings in binary data, as an array of one axis.

    Args:
        data: the binary data.
        name: of the input.

    Raises:
        InvalidRequestError: naming the input and the string that is truncated.
    """
    strings: list[bytes] = []
    offset = 0
    while offset < len(data):
        begin = offset + _BYTES_LENGTH.size
        end = begin + _BYTES_LENGTH.unpack_from(data, offset)[0] if begin <= len(data) else begin
        if end > len(data):
            raise InvalidRequestError(f"input {name!r}: its binary data ends within string {len(strings)}")
        strings.append(bytes(data[begin:end]))
        offset = end
    return object_array(strings, (len(strings),))


def dump(array: Array) -> bytes:
    """An array as binary data."""
    if array.dtype.hasobject:
        return b"".join(part for value in array.ravel().tolist() for part in (_BYTES_LENGTH.pack(len(value)), value))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
