"""How much memory the containers of Jobs and servers request; the figures are `keras_api.memory`'s."""

from __future__ import annotations

from typing import NamedTuple

from keras_api import memory
from keras_api.manifest import ModelSummary


class Memory(NamedTuple):
    """What earlier attempts have shown about the memory that a Job needs."""

    mib: int = 0
    """Lower bound for the Job's main container."""
    factor: int = 1
    """Factor for the memory of every container, after the kernel killed one."""


USUAL = Memory()
"""No earlier attempt."""


def prepare_mib(source_bytes: int | None) -> int:
    """MiB of memory for the preparation of a model file.

    Args:
        source_bytes: size of the model file; None when unknown.
    """
    return mebibytes(memory.prepare_bytes(source_bytes))


def server_memory(model: ModelSummary) -> str:
    """Memory that a serving pod requests, as a quantity."""
    return f"{mebibytes(memory.serving_bytes(model.runtime, model.parameters))}Mi"


def mebibytes(count: int) -> int:
    """Bytes as whole MiB, rounded up."""
    return -(-count // memory.MIB)
