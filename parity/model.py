"""What a case of the parity search is: a small model, and the inputs that are tried on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_runtimes.arrays import Array


@dataclass(frozen=True)
class Probe:
    """Inputs with one kind of value, in the order of the model's inputs.

    Attributes:
        kind: of the values, such as "huge".
        inputs: arrays with the batch as their first axis.
        relaxed: whether the graph of Keras of the probe before may be used, in which TensorFlow leaves the sizes free.
            It saves tracing the graph again for each of hundreds of sizes.
    """

    kind: str
    inputs: tuple[Array, ...]
    relaxed: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the server accepts the inputs by default: no axis is empty, and no value is NaN or infinite."""
        return all(array.size and (array.dtype.kind != "f" or np.isfinite(array).all()) for array in self.inputs)


@dataclass(frozen=True)
class InputSpec:
    """An input of a model: its shape without the batch (None is a free size), and its element type."""

    shape: tuple[int | None, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Case:
    """A model of one layer or one operation.

    Attributes:
        subject: what is tried: `layers.Dense`, `ops.add`.
        variant: its arguments and types, in words.
        inputs: of the model.
        function: from the input tensors to the output tensors.
        probes: makes the inputs to try.
    """

    subject: str
    variant: str
    inputs: tuple[InputSpec, ...]
    function: Callable[..., Any]
    probes: Callable[[], Sequence[Probe]]

    @property
    def name(self) -> str:
        """Unique name: subject and variant."""
        return f"{self.subject} [{self.variant}]"
