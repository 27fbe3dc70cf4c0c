"""Tensors in JSON: nested or flat lists of numbers, booleans and strings.

NaN and the infinities have no JSON form: in answers they become null, and null in a request is an error. Requests may
have them as tokens (`keras_server.protocols.json_tokens`).

Long lists of numbers are decoded and encoded piece by piece. One call of the JSON library holds the interpreter's lock
to its end: 0.2 s for the longest list that a request may have, in which no health probe would be answered, even though
the call runs in a thread of its own (`keras_server.http_front.bodies`). A piece takes a millisecond. It also keeps the
Python objects of one piece only, which take five times the memory of the array.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeGuard

import msgspec
import numpy as np

from keras_api.manifest import Tensor
from keras_runtimes.arrays import NUMPY_DTYPES, Array, object_array
from keras_server.errors import InvalidRequestError
from keras_server.protocols import json_tokens
from keras_server.signature import row_example

PIECE_BYTES = 256 * 1024
"""Length of JSON that is decoded in one piece."""
PIECE_ELEMENTS = 16 * 1024
"""Numbers that are encoded in one piece, in about as much JSON."""

# The type of an element in JSON, by the kind of its numpy type.
_JSON_TYPES: dict[str, type] = {"b": bool, "i": int, "u": int, "f": float, "O": str}


class Base64(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes in JSON, as TensorFlow Serving writes them."""

    b64: str


def begins_with(raw: msgspec.Raw, characters: bytes) -> bool:
    """Whether a JSON value begins with these characters, apart from white space."""
    return bytes(memoryview(raw)[:64]).translate(None, b" \t\r\n").startswith(characters)


def is_given(raw: msgspec.Raw | msgspec.UnsetType) -> TypeGuard[msgspec.Raw]:
    """Whether an optional value is in the request: null means absent."""
    return isinstance(raw, msgspec.Raw) and memoryview(raw)[:5].tobytes() != b"null"


def parse(raw: msgspec.Raw, tensor: Tensor, depth: int, *, base64_allowed: bool = False) -> Array:
    """The array in a JSON value of `depth` nested lists, in the tensor's type.

    Raises:
        InvalidRequestError: naming the input, the place and the kind of the error.
    """
    dtype = NUMPY_DTYPES[tensor.dtype]
    decode = _decoder(_JSON_TYPES[dtype.kind], depth, base64_allowed)
    if dtype.kind != "O" and len(memoryview(raw)) > PIECE_BYTES:
        array = _parse_in_pieces(raw, decode, dtype, depth)
        if array is None and dtype.kind == "f" and json_tokens.is_marked(raw):
            array = _parse_in_pieces(raw, _decoder(float | json_tokens.Token, depth, False), dtype, depth)
        if array is not None:
            return array
    try:
        values = decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        values = _decode_tokens(raw, tensor, depth, error)
    try:
        array = _array(values, dtype)
    except (OverflowError, FloatingPointError) as error:
        raise InvalidRequestError(f"input {tensor.name!r} has a value that does not fit {tensor.dtype}") from error
    except ValueError as error:  # lists of different lengths
        raise InvalidRequestError(_ragged(tensor)) from error
    if array.ndim != depth and array.size:
        raise InvalidRequestError(_ragged(tensor))
    return _strings(array, tensor) if dtype.kind == "O" else array


def dump(array: Array) -> Any:
    """Numbers as an object to encode: nested lists, or where those are long, their JSON."""
    return array.tolist() if array.size <= PIECE_ELEMENTS else msgspec.Raw(_encode_in_pieces(array))


def dump_rows(arrays: Mapping[str, Array], values: Callable[[str, Array], Any]) -> Any:
    """Arrays of equal length as an object to encode: one object for each row, or where those are long, their JSON.

    Args:
        arrays: by name.
        values: returns the nested lists of a named array.
    """
    count = len(next(iter(arrays.values())))
    step = max(1, PIECE_ELEMENTS * count // max(1, sum(array.size for array in arrays.values())))

    def rows(start: int) -> list[dict[str, Any]]:
        columns = [values(name, array[start : start + step]) for name, array in arrays.items()]
        return [dict(zip(arrays, row, strict=True)) for row in zip(*columns, strict=True)]

    if step >= count:
        return rows(0)
    return msgspec.Raw(_join(msgspec.json.encode(rows(start)) for start in range(0, count, step)))


def _decode_tokens(raw: msgspec.Raw, tensor: Tensor, depth: int, error: Exception) -> Any:
    """The values of a list with NaN or infinities, which the fast decoder rejects with an error."""
    if json_tokens.is_marked(raw):
        if NUMPY_DTYPES[tensor.dtype].kind != "f":
            raise InvalidRequestError(
                f"input {tensor.name!r} has NaN or an infinity, which {tensor.dtype} does not have"
            ) from error
        try:
            return _decoder(float | json_tokens.Token, depth, False)(raw)
        except (msgspec.DecodeError, RecursionError) as other:
            error = other
    # The text names the type of JSON that was expected or found: lists are in the wrong place.
    hint = f"; {row_example(tensor)}" if "`array`" in str(error) else ""
    raise InvalidRequestError(
        f"input {tensor.name!r}, {tensor.dtype} {list(tensor.shape)}, cannot be decoded: {error}{hint}"
    ) from error


def _array(values: Any, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="raise"):
        return np.array(values, dtype=dtype)


def _parse_in_pieces(
    raw: msgspec.Raw, decode: Callable[[bytes], Any], dtype: np.dtype[Any], depth: int
) -> Array | None:
    """The array in a long list of numbers; None when it has to be decoded at once, which also finds its errors."""
    try:
        arrays = [_array(decode(piece), dtype) for piece in _pieces(memoryview(raw), depth)]
        if all(array.ndim == depth and array.size for array in arrays):
            return np.concatenate(arrays)
    except (msgspec.DecodeError, RecursionError, OverflowError, ValueError, FloatingPointError):
        pass
    return None


def _pieces(text: memoryview, depth: int) -> Iterator[bytes]:
    """Parts of a list of numbers, each a list of one or more of its elements."""
    if (text[0], text[-1]) != (ord("["), ord("]")):
        return
    # Where an element ends and another one follows; a list with white space in these places is one piece.
    end_of_element = re.compile(re.escape(b"]" * (depth - 1) + b","))
    start, end = 1, len(text) - 1
    while (found := end_of_element.search(text, min(start + PIECE_BYTES, end), end)) is not None:
        yield b"[" + text[start : found.end() - 1] + b"]"
        start = found.end()
    yield b"[" + text[start:end] + b"]"


def _encode_in_pieces(array: Array) -> bytes:
    if array.size <= PIECE_ELEMENTS:
        return msgspec.json.encode(array.tolist())
    if array.size // len(array) > PIECE_ELEMENTS:
        return b"[" + b",".join(_encode_in_pieces(row) for row in array) + b"]"
    rows = PIECE_ELEMENTS * len(array) // array.size
    return _join(msgspec.json.encode(array[start : start + rows].tolist()) for start in range(0, len(array), rows))


def _join(lists: Iterator[bytes]) -> bytes:
    """One JSON list of the elements of several."""
    return b"[" + b",".join(each[1:-1] for each in lists) + b"]"


def _ragged(tensor: Tensor) -> str:
    return f"input {tensor.name!r} has lists of different lengths where {list(tensor.shape)} needs equal ones"


@lru_cache(maxsize=256)
def _decoder(element: Any, depth: int, base64_allowed: bool) -> Any:
    kind: Any = element | Base64 if element is str and base64_allowed else element
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind).decode


def _strings(array: Array, tensor: Tensor) -> Array:
    flat = array.ravel().tolist()
    try:
        values = [
            base64.b64decode(value.b64, validate=True) if isinstance(value, Base64) else value.encode()
            for value in flat
        ]
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(f"input {tensor.name!r} has a b64 string that is not base64: {error}") from error
    return object_array(values, array.shape)
