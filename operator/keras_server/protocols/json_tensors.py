"""Tensors in JSON, both ways: nested or flat lists of numbers, booleans and strings.

NaN and the infinities have no JSON form: in answers they become null, and in requests null is refused.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from keras_api.manifest import Tensor
from keras_runtimes.arrays import NUMPY_DTYPES, Array, object_array
from keras_server.dtypes import DTYPES
from keras_server.errors import InvalidRequestError


class Base64(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TensorFlow Serving's way to put bytes into JSON."""

    b64: str


def begins_with(raw: msgspec.Raw, characters: bytes) -> bool:
    """Whether a JSON value begins with these characters, white space aside."""
    return bytes(memoryview(raw)[:64]).translate(None, b" \t\r\n").startswith(characters)


def parse(raw: msgspec.Raw, tensor: Tensor, depth: int, *, base64_allowed: bool = False) -> Array:
    """The array that a JSON value of `depth` nested lists holds, in the tensor's type.

    Raises:
        InvalidRequestError: naming the input, and the place and the kind of the fault.
    """
    element = DTYPES[tensor.dtype]
    try:
        values = _decoder(element.json, depth, base64_allowed)(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequestError(
            f"input {tensor.name!r}, {tensor.dtype} {list(tensor.shape)}, cannot be read: {error}"
        ) from error
    try:
        with np.errstate(over="raise"):
            array = np.array(values, dtype=NUMPY_DTYPES[tensor.dtype])
    except (OverflowError, FloatingPointError) as error:
        raise InvalidRequestError(f"input {tensor.name!r} holds a value that does not fit {tensor.dtype}") from error
    except ValueError as error:  # lists of different lengths
        raise InvalidRequestError(_ragged(tensor)) from error
    if array.ndim != depth and array.size:
        raise InvalidRequestError(_ragged(tensor))
    return _strings(array, tensor) if tensor.dtype == "string" else array


def _ragged(tensor: Tensor) -> str:
    return f"input {tensor.name!r} has lists of different lengths where {list(tensor.shape)} needs equal ones"


@lru_cache(maxsize=256)
def _decoder(element: type, depth: int, base64_allowed: bool) -> Any:
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
        raise InvalidRequestError(f"input {tensor.name!r} holds a b64 string that is not base64: {error}") from error
    return object_array(values, array.shape)
