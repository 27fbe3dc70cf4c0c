"""How much memory a model needs: to convert it, to prepare it and to serve it.

The operator asks for the memory, and the prepare step compares it with the need of a conversion, so both read this
table. The figures come from measurements of Keras 3.15, TensorFlow 2.21, tf2onnx 1.17 and ONNX Runtime 1.31 on one
machine, rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

MIB = 1024**2
GIB = 1024**3
BYTES_PER_PARAMETER = 4


class Need(NamedTuple):
    """Bytes of memory that grow with a size."""

    base: int
    factor: int

    def of(self, size: int) -> int:
        """The need for a size in bytes."""
        return self.base + self.factor * size


SERVING: Final[Mapping[str, Need]] = {
    # Measured: 54 MiB for a small model and 228 MiB for 59 MB of weights; batches come on top.
    "onnxruntime": Need(128 * MIB, 5),
    # Measured: 620 to 750 MiB.
    "tensorflow": Need(768 * MIB, 6),
}
"""Memory of a server by runtime, for the bytes of the weights; `spec.serving.resources` overrides it."""

EXPORT_FACTOR = 5
"""The model and its SavedModel export, which every runtime needs: five times the model file."""

CONVERSION: Final[Mapping[str, Need]] = {
    # tf2onnx, the export included. Measured: 1 GiB for a small model, and 25 times the weights.
    "onnxruntime": Need(GIB, 25),
}
"""Peak memory of a prepare step that converts to a runtime, for the bytes of the weights.

A runtime that is not here loads the export itself.
"""

ALWAYS_CONVERTED_BYTES = 20 * MIB
"""Weights up to this size are converted within any limit: the base need is an upper bound for them."""

_PREPARE_MARGIN = 512 * MIB
_CONVERT_MAX = 4 * GIB
_LARGEST_FACTOR = max(need.factor for need in CONVERSION.values())

CONVERTIBLE_SOURCE_BYTES = _CONVERT_MAX // (_LARGEST_FACTOR - EXPORT_FACTOR)
"""Size of a model file up to which a prepare Job gets the memory for every conversion (204 MiB).

A larger model is converted only where the limit allows it; otherwise it takes a runtime that loads the export.
"""

UNKNOWN_SOURCE_BYTES = 64 * MIB
"""Assumed size where the source does not report one (a claim, a server without Content-Length): a mid-size model."""


def prepare_bytes(source_bytes: int | None) -> int:
    """Memory that a prepare Job gets for a model file.

    Args:
        source_bytes: size of the model file; None when unknown.
    """
    size = UNKNOWN_SOURCE_BYTES if source_bytes is None else source_bytes
    base = max(need.base for need in CONVERSION.values()) + _PREPARE_MARGIN
    return base + EXPORT_FACTOR * size + min((_LARGEST_FACTOR - EXPORT_FACTOR) * size, _CONVERT_MAX)


def conversion_excess(runtime: str, weight_bytes: int, limit: int | None) -> int | None:
    """The bytes that a conversion needs, where they exceed a limit; None where the conversion can be attempted.

    Args:
        runtime: the runtime to convert to.
        weight_bytes: size of the model's weights.
        limit: bytes of memory that the step may use; None when there is no limit.
    """
    need = CONVERSION.get(runtime)
    if need is None or not limit or weight_bytes <= ALWAYS_CONVERTED_BYTES:
        return None
    needed = need.of(weight_bytes)
    return needed if needed > limit else None


def serving_bytes(runtime: str, parameters: int) -> int:
    """Memory that a serving pod gets.

    Args:
        runtime: what runs the model; one of another release counts as ONNX Runtime.
        parameters: number of weights.
    """
    return SERVING.get(runtime, SERVING["onnxruntime"]).of(parameters * BYTES_PER_PARAMETER)
