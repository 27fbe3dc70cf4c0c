"""Inputs and outputs of a model, and whether the arrays of a request fit them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import msgspec

from keras_api.manifest import ANY_SIZE, ModelSummary, Tensor
from keras_runtimes.arrays import NUMPY_DTYPES, Arrays
from keras_server.errors import InferenceError, InvalidRequestError


class Limit(NamedTuple):
    """The sizes that the model accepts for a free axis of an input.

    Attributes:
        axis: its number.
        least: smallest size.
        most: largest size; -1 for no limit.
    """

    axis: int
    least: int
    most: int

    def check(self, tensor: Tensor, shape: Sequence[int]) -> None:
        """Check the shape of an input.

        Raises:
            InvalidRequestError: naming the input, the axis and the accepted sizes.
        """
        size = shape[self.axis]
        if size < self.least or (self.most != ANY_SIZE and size > self.most):
            accepted = f"{self.least} or more" if self.most == ANY_SIZE else f"{self.least} to {self.most}"
            raise InvalidRequestError(
                f"input {tensor.name!r} has size {size} in axis {self.axis} of its shape {list(shape)}; "
                f"the model takes {accepted}"
            )


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model by name, in the order of the manifest."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    @classmethod
    def of(cls, summary: ModelSummary) -> Signature:
        """The signature that a manifest declares."""
        return cls({tensor.name: tensor for tensor in summary.inputs}, {t.name: t for t in summary.outputs})

    @cached_property
    def has_rows(self) -> bool:
        """Whether a request chooses its number of rows: an input has a free first axis."""
        return any(tensor.shape[:1] == [ANY_SIZE] for tensor in self.inputs.values())

    @cached_property
    def limits(self) -> Mapping[str, Sequence[Limit]]:
        """The limits of the free axes of each input."""
        return {name: tuple(_limits(tensor)) for name, tensor in self.inputs.items()}

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


def row_example(tensor: Tensor) -> str:
    """What a row looks like, for people: ``a row of 'x' has shape [28, 28, 1] and looks like [[[0.0], ...], ...]``."""
    shape = list(tensor.shape[1:])
    zero = "text" if tensor.dtype == "string" else NUMPY_DTYPES[tensor.dtype].type(0).item()
    example = msgspec.json.encode(zero).decode()
    for size in reversed(shape):
        example = f"[{', '.join([example] * size if size in (1, 2) else [example, '...'])}]"
    return f"a row of {tensor.name!r} has shape {shape} and looks like {example}"


def shape_error(tensor: Tensor, shape: Sequence[int]) -> str:
    """What is wrong with the shape of an input, for people; if its number of axes is, with the form of a row."""
    form = "" if len(shape) == len(tensor.shape) else f"; {row_example(tensor)}"
    return f"input {tensor.name!r} has shape {list(shape)}; the model takes {list(tensor.shape)}{form}"


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
            raise InvalidRequestError(shape_error(tensor, array.shape))
        for limit in signature.limits[name]:
            limit.check(tensor, array.shape)
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


def check_outputs(signature: Signature, arrays: Arrays, *, rows: int, runtime: str) -> None:
    """Check that the outputs of a run have the shapes that the manifest declares, and as many rows as the inputs.

    Raises:
        InferenceError: naming the first output that differs.
    """
    for name, tensor in signature.outputs.items():
        shape, expected = arrays[name].shape, tensor.shape
        if signature.has_rows and expected and expected[0] == ANY_SIZE:
            expected = [rows, *expected[1:]]
        if not fits(shape, expected):
            remedy = "set spec.serving.runtime: tensorflow" if runtime != "tensorflow" else "send inputs of other sizes"
            raise InferenceError(
                f"output {name!r} has shape {list(shape)}, not {expected}: the runtime {runtime} does not "
                f"compute what Keras computes for inputs of these sizes; {remedy}"
            )


def fits(shape: tuple[int, ...], declared: Sequence[int]) -> bool:
    """Whether a shape is one that a declared shape allows; -1 there means any size."""
    if len(shape) != len(declared):
        return False
    for size, expected in zip(shape, declared, strict=True):  # noqa: SIM110 - a generator takes three times as long
        if expected not in (size, ANY_SIZE):
            return False
    return True


def _limits(tensor: Tensor) -> Iterator[Limit]:
    for axis, size in enumerate(tensor.shape):
        if size == ANY_SIZE:
            # Runtimes answer an empty axis differently. An empty batch has an error of its own.
            least = max(tensor.min_shape[axis] if tensor.min_shape else 0, 1 if axis else 0)
            most = tensor.max_shape[axis] if tensor.max_shape else ANY_SIZE
            if least > 0 or most != ANY_SIZE:
                yield Limit(axis, least, most)
