"""Inputs and outputs of a model, and whether the arrays of a request fit them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keras_api.manifest import ANY_SIZE, ModelSummary, Tensor
from keras_runtimes.arrays import NUMPY_DTYPES, Arrays
from keras_server.errors import InvalidRequestError


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model by name, in the order of the manifest."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    @classmethod
    def of(cls, summary: ModelSummary) -> Signature:
        """The signature that a manifest declares."""
        return cls({tensor.name: tensor for tensor in summary.inputs}, {t.name: t for t in summary.outputs})

    def input(self, name: str) -> Tensor:
        """The input of that name.

        Raises:
            InvalidRequestError: the model has no such input.
        """
        if (tensor := self.inputs.get(name)) is None:
            raise InvalidRequestError(f"the model has no input {name!r}; its inputs are {describe(self.inputs)}")
        return tensor

    def output(self, name: str) -> Tensor:
        """The output of that name.

        Raises:
            InvalidRequestError: the model has no such output.
        """
        if (tensor := self.outputs.get(name)) is None:
            raise InvalidRequestError(f"the model has no output {name!r}; its outputs are {describe(self.outputs)}")
        return tensor


def describe(tensors: Mapping[str, Tensor]) -> str:
    """Names, types and shapes for people: ``'x' float32 [-1, 784]``."""
    return ", ".join(f"{tensor.name!r} {tensor.dtype} {list(tensor.shape)}" for tensor in tensors.values())


def check_inputs(signature: Signature, arrays: Arrays, *, max_rows: int) -> int:
    """Check that arrays fit the model's inputs.

    Returns:
        The number of rows, which is the size of the first axis; 1 when no input has a free first axis.

    Raises:
        InvalidRequestError: naming the input, what the model expects and what the request has.
    """
    for name in arrays:
        signature.input(name)
    if missing := signature.inputs.keys() - arrays.keys():
        names = ", ".join(repr(name) for name in signature.inputs if name in missing)
        raise InvalidRequestError(f"input {names} is missing; the model's inputs are {describe(signature.inputs)}")
    rows: dict[str, int] = {}
    for name, array in arrays.items():
        tensor = signature.inputs[name]
        if array.dtype != NUMPY_DTYPES[tensor.dtype]:
            raise InvalidRequestError(f"input {name!r} is {array.dtype}; the model takes {tensor.dtype}")
        if not fits(array.shape, tensor.shape):
            raise InvalidRequestError(
                f"input {name!r} has shape {list(array.shape)}; the model takes {list(tensor.shape)}"
            )
        if tensor.shape and tensor.shape[0] == ANY_SIZE:
            rows[name] = array.shape[0]
    if len(set(rows.values())) > 1:
        given = ", ".join(f"{name!r} has {count}" for name, count in rows.items())
        raise InvalidRequestError(f"the inputs differ in their number of rows: {given}")
    count = next(iter(rows.values()), 1)
    if not 1 <= count <= max_rows:
        raise InvalidRequestError(
            f"{count} rows in one request; the server takes 1 to {max_rows} (its option --max-rows)"
        )
    return count


def fits(shape: tuple[int, ...], declared: list[int]) -> bool:
    """Whether a shape is one that a declared shape allows; -1 there means any size."""
    return len(shape) == len(declared) and all(
        expected in (ANY_SIZE, size) for size, expected in zip(shape, declared, strict=True)
    )
