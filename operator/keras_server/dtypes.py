"""Element types: their names in manifests, in both protocols and in numpy.

Inside the server strings are `bytes` in object arrays, because the protocols carry bytes that need not be text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class ElementType:
    """One element type under all its names."""

    name: str  # in manifests
    oip: str  # in the Open Inference Protocol
    tensorflow: str  # in TensorFlow Serving's metadata
    numpy: np.dtype[Any]
    json: type  # what an element is in JSON


DTYPES: dict[str, ElementType] = {
    element.name: element
    for element in (
        ElementType("bool", "BOOL", "DT_BOOL", np.dtype(np.bool_), bool),
        ElementType("int8", "INT8", "DT_INT8", np.dtype(np.int8), int),
        ElementType("int16", "INT16", "DT_INT16", np.dtype(np.int16), int),
        ElementType("int32", "INT32", "DT_INT32", np.dtype(np.int32), int),
        ElementType("int64", "INT64", "DT_INT64", np.dtype(np.int64), int),
        ElementType("uint8", "UINT8", "DT_UINT8", np.dtype(np.uint8), int),
        ElementType("uint16", "UINT16", "DT_UINT16", np.dtype(np.uint16), int),
        ElementType("uint32", "UINT32", "DT_UINT32", np.dtype(np.uint32), int),
        ElementType("uint64", "UINT64", "DT_UINT64", np.dtype(np.uint64), int),
        ElementType("float16", "FP16", "DT_HALF", np.dtype(np.float16), float),
        ElementType("float32", "FP32", "DT_FLOAT", np.dtype(np.float32), float),
        ElementType("float64", "FP64", "DT_DOUBLE", np.dtype(np.float64), float),
        ElementType("string", "BYTES", "DT_STRING", np.dtype(np.object_), str),
    )
}


def string_array(values: Array) -> Array:
    """The same strings as `bytes` in an object array; text becomes UTF-8."""
    flat = [value.encode() if isinstance(value, str) else bytes(value) for value in values.ravel().tolist()]
    strings = np.empty(len(flat), dtype=np.object_)
    strings[:] = flat
    return strings.reshape(values.shape)
