"""How much memory steps and servers ask for, from the size of the model.

The figures come from measurements of Keras 3.15, TensorFlow 2.21, tf2onnx 1.17 and ONNX Runtime 1.31 on one machine,
rounded up; `spec.serving.resources` overrides what a server gets.
"""

from __future__ import annotations

from typing import NamedTuple

from keras_api.manifest import ModelSummary

MIB = 1024**2
GIB = 1024**3

# Keras, TensorFlow and tf2onnx once imported take 0.6 GiB, a small model's whole conversion 1 GiB.
PREPARE_BASE = 1536 * MIB
# The model and its SavedModel export, which every route needs: five times the file.
PREPARE_EXPORT_FACTOR = 5
# tf2onnx on top: twenty times the file, but beyond this the step takes a route without it.
PREPARE_CONVERT_FACTOR = 20
PREPARE_CONVERT_MAX = 4 * GIB
# A source that does not tell its size (a claim, a server without Content-Length) is taken to be a mid-size model, until
# the step that fetches it has observed it.
UNKNOWN_SOURCE_SIZE = 64 * MIB

# The server with ONNX Runtime is 54 MiB for a small model and 228 MiB for 59 MB of weights; batches come on top.
ONNX_BASE = 128 * MIB
ONNX_FACTOR = 5
# The same with TensorFlow: 620 to 750 MiB.
TENSORFLOW_BASE = 768 * MIB
TENSORFLOW_FACTOR = 6
BYTES_PER_PARAMETER = 4


class Memory(NamedTuple):
    """What earlier attempts have shown about the memory that a Job needs."""

    mib: int = 0
    """Lower bound for the Job's main container."""
    factor: int = 1
    """Factor for the memory of every container, after the kernel killed one."""


USUAL = Memory()
"""No earlier attempt."""


def prepare_mib(source_bytes: int | None) -> int:
    """MiB of memory that preparing a model file usually takes.

    Args:
        source_bytes: size of the model file; None when unknown.
    """
    size = UNKNOWN_SOURCE_SIZE if source_bytes is None else source_bytes
    convert = min(PREPARE_CONVERT_FACTOR * size, PREPARE_CONVERT_MAX)
    return mebibytes(PREPARE_BASE + PREPARE_EXPORT_FACTOR * size + convert)


def server_memory(model: ModelSummary) -> str:
    """Memory that a serving pod reserves, as a quantity."""
    weights = model.parameters * BYTES_PER_PARAMETER
    if model.runtime == "tensorflow":
        return f"{mebibytes(TENSORFLOW_BASE + TENSORFLOW_FACTOR * weights)}Mi"
    return f"{mebibytes(ONNX_BASE + ONNX_FACTOR * weights)}Mi"


def mebibytes(count: int) -> int:
    """Bytes as whole MiB, rounded up."""
    return -(-count // MIB)
