"""Inputs and outputs of a model, and whether the arrays of a request fit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from keras_api.manifest import ModelSummary, Tensor
from keras_runtimes.arrays import NUMPY_DTYPES, Arrays
from keras_server.errors import InferenceError, InvalidRequestError

ANY_SIZE = -1


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model by name, in the order of the manifest."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    @classmethod
    def of(cls, summary: ModelSummary) -> Signature:
        """The signature that a manifest declares."""
        return cls({tensor.name: tensor for tensor in summary.inputs}, {t.name: t for t in summary.outputs})

    @property
    def has_rows(self) -> bool:
        """Whether a request chooses its number of rows: an input has a free first axis."""
        return any(tensor.shape[:1] == [ANY_SIZE] for tensor in self.inputs.values())

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
        _check_sizes(tensor, array.shape)
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
    expected_rows = [rows] if signature.has_rows else [ANY_SIZE]
    for name, tensor in signature.outputs.items():
        shape = arrays[name].shape
        expected = expected_rows + tensor.shape[1:] if tensor.shape[:1] == [ANY_SIZE] else tensor.shape
        if not fits(shape, expected):
            remedy = "set spec.serving.runtime: tensorflow" if runtime != "tensorflow" else "send inputs of other sizes"
            raise InferenceError(
                f"output {name!r} has shape {list(shape)}, not {list(expected)}: the runtime {runtime} does not "
                f"compute what Keras computes for inputs of these sizes; {remedy}"
            )


def _check_sizes(tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Check the sizes of the free axes. An empty axis besides the batch is an error: runtimes answer it differently."""
    for axis, size in enumerate(shape):
        if tensor.shape[axis] != ANY_SIZE:
            continue
        least = max(tensor.min_shape[axis] if tensor.min_shape else 0, 1 if axis else 0)
        most = tensor.max_shape[axis] if tensor.max_shape else ANY_SIZE
        if size < least or (most != ANY_SIZE and size > most):
            accepted = f"{least} or more" if most == ANY_SIZE else f"{least} to {most}"
            raise InvalidRequestError(
                f"input {tensor.name!r} has size {size} in axis {axis} of its shape {list(shape)}; "
                f"the model takes {accepted}"
            )


def fits(shape: tuple[int, ...], declared: list[int]) -> bool:
    """Whether a shape is one that a declared shape allows; -1 there means any size."""
    return len(shape) == len(declared) and all(
        expected in (ANY_SIZE, size) for size, expected in zip(shape, declared, strict=True)
    )
