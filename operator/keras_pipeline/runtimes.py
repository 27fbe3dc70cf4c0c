"""The runtimes that serve, as the checks of the prepare step use them: with its arrays, errors and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from keras_api.limits import cpu_limit
from keras_api.manifest import Tensor
from keras_pipeline.arrays import Arrays, to_numpy
from keras_pipeline.errors import ConversionError, first_lines
from keras_runtimes import base
from keras_runtimes.arrays import string_array
from keras_runtimes.base import ConvertedModel, InvalidInputError, ModelLoadError, ModelRunError, TensorType
from keras_runtimes.registry import RuntimeInfo


class Runtime(Protocol):
    """Runs one converted model."""

    def run(self, arrays: Arrays) -> Arrays:
        """Inference on named arrays.

        Raises:
            ConversionError: the runtime fails on them.
        """


class ServingRuntime:
    """A model in the runtime that will serve it; strings are numpy unicode arrays."""

    def __init__(self, runtime: base.Runtime) -> None:
        self._runtime = runtime

    def run(self, arrays: Arrays) -> Arrays:
        """See `Runtime.run`."""
        inputs = {name: string_array(array) if array.dtype.kind == "U" else array for name, array in arrays.items()}
        try:
            answers = self._runtime.run(inputs)
        except (InvalidInputError, ModelRunError) as error:
            raise ConversionError(first_lines(error)) from error
        return {name: to_numpy(answer) for name, answer in answers.items()}


def open_runtime(info: RuntimeInfo, model: ConvertedModel) -> ServingRuntime:
    """Load a converted model, which shows operations that were not really converted.

    Raises:
        ConversionError: an operation is unknown, or a name, a type or the free batch axis was lost.
    """
    try:
        runtime = info.load(model, threads=cpu_limit())
    except ModelLoadError as error:
        raise ConversionError(first_lines(error)) from error
    inputs, outputs = runtime.signature()
    check_types("input", model.inputs, model.bound_inputs, inputs)
    check_types("output", model.outputs, model.bound_outputs, outputs)
    return ServingRuntime(runtime)


def check_types(
    role: str, tensors: Sequence[Tensor], bound: Mapping[str, str], declared: Mapping[str, TensorType]
) -> None:
    """See that a converted file declares the model's types, and leaves the number of rows free.

    Raises:
        ConversionError: naming the types or the tensor.
    """
    expected = {bound[tensor.name]: tensor.dtype for tensor in tensors}
    found = {name: type_.dtype for name, type_ in declared.items()}
    if found != expected:
        raise ConversionError(f"the converted model's {role}s are {found}, not {expected}")
    for name, (_, shape) in declared.items():
        if shape and shape[0] >= 0:
            raise ConversionError(f"the converted model's {role} {name!r} takes {shape[0]} rows only")
