"""Checks the weights of an HDF5 file: rejects links, data outside the file, sizes far beyond the file, and NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError, unsafe_file

MAX_OBJECTS = 1_000_000
# Keras writes neither compressed nor sparse data, so the stored size is about the declared size.
MAX_RATIO = 100
RATIO_FREE_BYTES = 1 << 20
# Values that are checked at once.
BLOCK = 1 << 20
# Top-level groups of training state: Keras 3, and legacy HDF5.
TRAINING_STATE = ("optimizer", "optimizer_weights", "metrics", "loss")


@dataclass(frozen=True)
class Weights:
    """Size of the arrays in a file.

    Attributes:
        count: number of weights, without those of the optimizer.
        size_bytes: bytes of all arrays when loaded.
    """

    count: int
    size_bytes: int


def read_weights(file: h5py.File, stored_bytes: int) -> Weights:
    """Count the weights, and check that each is a number.

    Args:
        file: an open HDF5 file: the weights of a `.keras` archive, or a legacy model.
        stored_bytes: size of that file.

    Raises:
        PrepareError: MODEL_UNSAFE for links, data outside the file, and datasets far larger than the file;
            MODEL_UNSUPPORTED for weights that are NaN.
    """
    count = size = seen = 0
    pending: list[tuple[str, h5py.Group]] = [("", file)]
    visited = set()
    datasets: list[tuple[str, h5py.Dataset]] = []
    while pending:
        path, group = pending.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in visited:  # a hard link may refer to a group above it
            continue
        visited.add(address)
        for name in group:
            seen += 1
            here = f"{path}/{name}"
            if seen > MAX_OBJECTS:
                raise unsafe_file(f"the weights have more than {MAX_OBJECTS:,} groups and datasets")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise unsafe_file(f"the weights at {here} are a link, possibly to another file")
            item = group[name]
            if isinstance(item, h5py.Group):
                pending.append((here, item))
                continue
            if item.external or item.is_virtual:
                raise unsafe_file(f"the weights at {here} are stored in another file")
            size += item.size * item.dtype.itemsize
            if here.split("/")[1] not in TRAINING_STATE and "seed_generator" not in here:
                count += item.size
                datasets.append((here, item))
    if size > max(RATIO_FREE_BYTES, MAX_RATIO * stored_bytes):
        raise unsafe_file(f"the weights would take {size:,} bytes of memory, but the file has only {stored_bytes:,}")
    for path, dataset in datasets:
        if _has_nan(dataset):
            raise PrepareError(
                Reason.MODEL_UNSUPPORTED,
                f"weights of layer {_layer(file, path)!r} are NaN ({path}; did the training diverge?): "
                "train the model again and save it",
            )
    return Weights(count, size)


def _has_nan(dataset: h5py.Dataset) -> bool:
    return dataset.dtype.kind == "f" and any(np.isnan(dataset[block]).any() for block in _blocks(dataset.shape))


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[int | slice, ...]]:
    """Indices of the blocks of an array, each of at most BLOCK values."""
    axis = next((axis for axis in range(len(shape)) if math.prod(shape[axis + 1 :]) <= BLOCK), None)
    if axis is None:
        yield ()  # a scalar
        return
    step = max(1, BLOCK // max(1, math.prod(shape[axis + 1 :])))
    for outer in np.ndindex(shape[:axis]):
        for start in range(0, shape[axis], step):
            yield (*outer, slice(start, start + step))


def _layer(file: h5py.File, path: str) -> str:
    """The name of a layer: an attribute beside its variables in Keras 3, a part of the path in a legacy file."""
    parent = path.rpartition("/")[0]
    name = file[parent].attrs.get("name")
    return name if isinstance(name, str) else parent.rpartition("/")[2]
