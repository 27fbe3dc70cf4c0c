"""Named arrays: the form of inputs and outputs in all modules. Strings are numpy unicode arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_runtimes.arrays import Array

Arrays = dict[str, Array]


def rows_of(arrays: Arrays) -> int:
    """Number of rows: the size of the first axis, which all arrays share."""
    return int(next(iter(arrays.values())).shape[0])


def take(arrays: Arrays, start: int, stop: int | None) -> Arrays:
    """Rows from start to stop, or to the end, of each array."""
    return {name: array[start:stop] for name, array in arrays.items()}


def concatenate(parts: list[Arrays]) -> Arrays:
    """The rows of all parts, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def to_numpy(value: Any) -> Array:
    """An output of a runtime as a numpy array. Byte strings and Python strings become unicode."""
    array = np.asarray(value)
    if array.dtype.kind in "OS":
        texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.flat]
        return np.array(texts, dtype=np.str_).reshape(array.shape)
    return array
