"""Looks through the weights of an HDF5 file: refuses links and data outside of it, absurd sizes, and NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError

MAX_OBJECTS = 1_000_000
# Keras writes neither compressed nor sparse data, so what is stored is about what is declared.
MAX_RATIO = 100
RATIO_FREE_BYTES = 1 << 20
# Numbers that are looked at together.
BLOCK = 1 << 20
# Top-level groups of training state: Keras 3, and legacy HDF5.
TRAINING_STATE = ("optimizer", "optimizer_weights", "metrics", "loss")


@dataclass(frozen=True)
class Weights:
    """What a file stores.

    Attributes:
        count: weights, without the optimizer's.
        size_bytes: bytes that everything stored takes when loaded.
    """

    count: int
    size_bytes: int


def read_weights(file: h5py.File, stored_bytes: int) -> Weights:
    """Count weights, and look whether each is a number.

    Args:
        file: an open HDF5 file, of a `.keras` archive or a legacy model.
        stored_bytes: size of that file.

    Raises:
        PrepareError: MODEL_UNSAFE for links or data outside the file, and for datasets far larger than the file;
            MODEL_UNSUPPORTED for weights that are NaN.
    """
    count = size = seen = 0
    pending: list[tuple[str, h5py.Group]] = [("", file)]
    visited = set()
    datasets: list[tuple[str, h5py.Dataset]] = []
    while pending:
        path, group = pending.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in visited:  # a hard link may lead back to a group above it
            continue
        visited.add(address)
        for name in group:
            seen += 1
            here = f"{path}/{name}"
            if seen > MAX_OBJECTS:
                raise _unsafe(f"the weights have more than {MAX_OBJECTS:,} groups and datasets")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _unsafe(f"the weights at {here} are a link, perhaps to another file")
            item = group[name]
            if isinstance(item, h5py.Group):
                pending.append((here, item))
                continue
            if item.external or item.is_virtual:
                raise _unsafe(f"the weights at {here} lie in another file")
            size += item.size * item.dtype.itemsize
            if here.split("/")[1] not in TRAINING_STATE and "seed_generator" not in here:
                count += item.size
                datasets.append((here, item))
    if size > max(RATIO_FREE_BYTES, MAX_RATIO * stored_bytes):
        raise _unsafe(f"the weights would take {size:,} bytes of memory, but the file has only {stored_bytes:,}")
    for path, dataset in datasets:
        if _has_nan(dataset):
            raise PrepareError(
                Reason.MODEL_UNSUPPORTED,
                f"weights of layer {_layer(file, path)!r} are NaN ({path}): the training diverged? "
                "Train the model again and save it",
            )
    return Weights(count, size)


def _has_nan(dataset: h5py.Dataset) -> bool:
    return dataset.dtype.kind == "f" and any(np.isnan(dataset[block]).any() for block in _blocks(dataset.shape))


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[int | slice, ...]]:
    """Indices that together cover an array, each of at most BLOCK numbers."""
    axis = next((axis for axis in range(len(shape)) if math.prod(shape[axis + 1 :]) <= BLOCK), None)
    if axis is None:
        yield ()  # a single number
        return
    step = max(1, BLOCK // max(1, math.prod(shape[axis + 1 :])))
    for outer in np.ndindex(shape[:axis]):
        for start in range(0, shape[axis], step):
            yield (*outer, slice(start, start + step))


def _layer(file: h5py.File, path: str) -> str:
    """The layer's own name, which Keras 3 notes beside its variables; a legacy file's paths hold it."""
    parent = path.rpartition("/")[0]
    name = file[parent].attrs.get("name")
    return name if isinstance(name, str) else parent.rpartition("/")[2]


def _unsafe(what: str) -> PrepareError:
    return PrepareError(
        Reason.MODEL_UNSAFE, f"the model file was not loaded: {what}; save it again with model.save('name.keras')"
    )
