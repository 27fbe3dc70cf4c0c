"""Named arrays, the form in which inputs and outputs travel. A string is `bytes`, an element of an object array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from keras_api.manifest import Dtype

Array = NDArray[Any]
Arrays = Mapping[str, Array]


NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(np.object_ if name == "string" else name) for name in get_args(Dtype)
}
"""The numpy type of each element type that manifests name."""


def string_array(values: Array) -> Array:
    """Text or bytes of any array as `bytes` in an object array; text is encoded as UTF-8."""
    return object_array(
        [value.encode() if isinstance(value, str) else bytes(value) for value in values.ravel().tolist()], values.shape
    )


def object_array(values: list[Any], shape: tuple[int, ...]) -> Array:
    """Objects in an array of that shape, row by row; numpy would otherwise look for axes inside them."""
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array.reshape(shape)
