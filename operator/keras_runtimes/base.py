"""The interface of a runtime: what it loads, how it runs, and the errors that it raises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from keras_api.manifest import Tensor
from keras_runtimes.arrays import Array, Arrays


class ModelLoadError(Exception):
    """The runtime cannot load the model; the text gives the reason."""


class InvalidInputError(Exception):
    """The model rejects a value that fits its signature, such as a token id out of range."""


class ModelRunError(Exception):
    """The runtime fails while it runs the model."""


@dataclass(frozen=True)
class ConvertedModel:
    """A model in the format of one runtime.

    Attributes:
        path: the runtime's file or folder.
        inputs: the model's inputs, under its own names.
        outputs: the model's outputs, under its own names.
        input_bindings: the runtime's name of each input that it calls otherwise.
        output_bindings: the runtime's name of each output that it calls otherwise.
    """

    path: Path
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    input_bindings: Mapping[str, str] = field(default_factory=dict)
    output_bindings: Mapping[str, str] = field(default_factory=dict)

    @property
    def bound_inputs(self) -> dict[str, str]:
        """The runtime's name of every input."""
        return {tensor.name: self.input_bindings.get(tensor.name, tensor.name) for tensor in self.inputs}

    @property
    def bound_outputs(self) -> dict[str, str]:
        """The runtime's name of every output."""
        return {tensor.name: self.output_bindings.get(tensor.name, tensor.name) for tensor in self.outputs}


class TensorType(NamedTuple):
    """Element type and shape that a converted file declares; -1 is any size."""

    dtype: str
    shape: tuple[int, ...]


class FileSignature(NamedTuple):
    """Inputs and outputs that a converted file declares, by the runtime's names."""

    inputs: dict[str, TensorType]
    outputs: dict[str, TensorType]


class Runtime(Protocol):
    """A loaded model. Several threads may run it at once."""

    def signature(self) -> FileSignature:
        """Inputs and outputs that the loaded file declares."""
        ...

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Inference on arrays that fit the model's signature, under the model's own names; strings are `bytes`.

        Raises:
            InvalidInputError: the model rejects a value.
            ModelRunError: the runtime fails.
        """
        ...


def check_names(role: str, bound: Iterable[str], declared: Iterable[str], path: Path) -> None:
    """See that a converted file has the expected inputs or outputs, and no others.

    Raises:
        ModelLoadError: with both lists of names.
    """
    expected, found = sorted(bound), sorted(declared)
    if expected != found:
        raise ModelLoadError(f"the {role}s of {path.name} are {found}, not {expected}")
