"""Counts the weights that an HDF5 file holds; refuses files that reach outside of themselves or claim the absurd."""

from __future__ import annotations

from dataclasses import dataclass

import h5py

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError

MAX_OBJECTS = 1_000_000
# Keras writes neither compressed nor sparse data, so what is stored is about what is declared.
MAX_RATIO = 100
RATIO_FREE_BYTES = 1 << 20
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
    """Count weights without reading them.

    Args:
        file: an open HDF5 file, of a `.keras` archive or a legacy model.
        stored_bytes: size of that file.

    Raises:
        PrepareError: MODEL_UNSAFE for links or data outside the file, and for datasets far larger than the file.
    """
    count = size = seen = 0
    pending: list[tuple[str, h5py.Group]] = [("", file)]
    visited = set()
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
    if size > max(RATIO_FREE_BYTES, MAX_RATIO * stored_bytes):
        raise _unsafe(f"the weights would take {size:,} bytes of memory, but the file has only {stored_bytes:,}")
    return Weights(count, size)


def _unsafe(what: str) -> PrepareError:
    return PrepareError(
        Reason.MODEL_UNSAFE, f"the model file was not loaded: {what}; save it again with model.save('name.keras')"
    )
