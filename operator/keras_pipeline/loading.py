"""Loads a checked model file with Keras, and determines the names, types and shapes of its inputs and outputs.

An input has the name of its Keras input layer (`keras.Input(name=...)`). An output has the name of its key if the
model's outputs are a dict, else that of the layer that produces it. If two names are equal, or an output has the name
of an input, the outputs are named output_0, output_1, ...
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import keras
import tensorflow as tf

from keras_api.manifest import Dtype, Tensor
from keras_api.reasons import Reason
from keras_pipeline.arrays import Arrays, to_numpy
from keras_pipeline.errors import PrepareError, first_lines
from keras_pipeline.inspection import MAX_ROW_VALUES, ModelProperties
from keras_pipeline.legacy_config import HARD_SIGMOID
from keras_pipeline.legacy_file import loadable
from keras_pipeline.load_errors import load_error
from keras_pipeline.model_file import ModelFile


class KerasRunError(Exception):
    """Keras fails on inputs, which may be the fault of the inputs; the text gives the cause."""


class KerasTraceError(KerasRunError):
    """Keras cannot make a graph of the model for the sizes of the inputs; the text gives the cause."""


@dataclass(frozen=True)
class LoadedModel:
    """A loaded Keras model, as a function of named tensors.

    Attributes:
        keras: the model.
        inputs: its inputs.
        output_names: names of its outputs, in its own order.
        parameters: number of its weights.
    """

    keras: Any
    inputs: list[Tensor]
    output_names: list[str]
    parameters: int
    _graphs: dict[tuple[Any, ...], Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def free_inputs(self) -> list[str]:
        """Names of the inputs with a free axis besides the batch."""
        return [tensor.name for tensor in self.inputs if -1 in tensor.shape[1:]]

    def export_error(self, error: Exception) -> PrepareError:
        """The error for a model of which Keras makes no graph."""
        cause = f"Keras cannot export the model for inference: {first_lines(error)}{self.shape_hint}"
        return PrepareError(Reason.CONVERSION_FAILED, cause)

    @property
    def shape_hint(self) -> str:
        """The remedy where some layers (TimeDistributed, UpSampling2D) need sizes that the model leaves free."""
        free = self.free_inputs
        return f". A fixed shape for {', '.join(map(repr, free))} may help" if free else ""

    def __call__(self, *tensors: Any) -> dict[str, Any]:
        """Run inference on TensorFlow tensors in the order of `inputs`. Returns the output tensors by name."""
        answers = self.keras(keras.tree.pack_sequence_as(self.keras.input, list(tensors)), training=False)
        # Neither the protocols nor numpy have bfloat16; float32 represents its values exactly.
        return {
            name: tf.cast(answer, "float32") if answer.dtype == tf.bfloat16 else answer
            for name, answer in zip(self.output_names, keras.tree.flatten(answers), strict=True)
        }

    def run(self, arrays: Arrays) -> Arrays:
        """Run inference on named arrays. Its outputs are the reference for every converted model.

        The model runs as in `keras.Model.predict`: in a graph whose number of rows is free and whose other sizes are
        those of the arrays.

        Raises:
            KerasRunError: Keras fails on the inputs; as KerasTraceError, if it cannot make the graph.
            MemoryError: the inputs need more memory than is available.
        """
        shapes = tuple((None, *arrays[tensor.name].shape[1:]) for tensor in self.inputs)
        return self._run(lambda: self._graph(shapes), arrays)

    @property
    def exportable(self) -> bool:
        """Whether `run_exported` has made its graph."""
        return self._exported_shapes in self._graphs

    @property
    def _exported_shapes(self) -> tuple[tuple[int | None, ...], ...]:
        return tuple(tuple(None if size < 0 else size for size in tensor.shape) for tensor in self.inputs)

    def run_exported(self, arrays: Arrays) -> Arrays:
        """The same in the graph that is exported, whose sizes are free where those of the model's inputs are."""
        return self._run(lambda: self._graph(self._exported_shapes), arrays)

    def run_eagerly(self, arrays: Arrays) -> Arrays:
        """The same as a call of the model does it, operation by operation."""
        return self._run(lambda: self, arrays)

    def _graph(self, shapes: tuple[tuple[int | None, ...], ...]) -> Any:
        if shapes not in self._graphs:
            signature = [tf.TensorSpec(shape, t.dtype) for shape, t in zip(shapes, self.inputs, strict=True)]
            try:
                self._graphs[shapes] = tf.function(self.__call__).get_concrete_function(*signature)
            except Exception as error:  # layers may raise any
                raise KerasTraceError(_cause(error)) from error
        return self._graphs[shapes]

    def _run(self, function: Callable[[], Any], arrays: Arrays) -> Arrays:
        tensors = [tf.convert_to_tensor(arrays[tensor.name], tensor.dtype) for tensor in self.inputs]
        try:
            answers = function()(*tensors)
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(first_lines(error)) from error
        except (MemoryError, KerasRunError):
            raise
        except Exception as error:  # layers may raise any
            raise KerasRunError(_cause(error)) from error
        # What Keras declares is of no use: a number times a dense tensor is declared sparse.
        for name, answer in answers.items():
            if not isinstance(answer, tf.Tensor):
                raise _not_dense("output", name)
        return {name: to_numpy(answer) for name, answer in answers.items()}


def _cause(error: Exception) -> str:
    """The cause within an error of a graph, which begins with the places in the code that built the graph."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    *_, last = re.split(r'\n\s*File "[^\n]*\n(?:\s*raise [^\n]*\n)?', text)
    return first_lines(last.partition("[[{{")[0].partition("Arguments received by")[0].strip() or text)


def load_model(
    path: Path, file: ModelFile, properties: ModelProperties, custom_objects: Mapping[str, Any]
) -> LoadedModel:
    """Load a model file that passed the inspection.

    Args:
        path: the file, ending in .keras or .h5.
        file: its content.
        properties: the result of the inspection.
        custom_objects: the model's custom classes and functions, by name.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, MODEL_UNSAFE or MODEL_UNREADABLE.
    """
    definitions = {HARD_SIGMOID: _hard_sigmoid_of_keras_2, **custom_objects}
    with loadable(path, file) as copy:
        try:
            model = keras.saving.load_model(copy, custom_objects=definitions, compile=False, safe_mode=True)
        except MemoryError:
            raise
        except Exception as error:  # Keras may raise any
            raise load_error(error, file, properties) from error
    if not getattr(model, "inputs", None):
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED,
            "the model does not declare its inputs: add a keras.Input to a Sequential model, or call another model on "
            "one and save keras.Model(inputs, model(inputs))",
        )
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs)  # adds the names and structure of a graph
    _reject_huge_tensors(model)
    inputs = [_input(tensor) for tensor in model.inputs]
    return LoadedModel(model, inputs, _output_names(model, [tensor.name for tensor in inputs]), model.count_params())


def _hard_sigmoid_of_keras_2(x: Any) -> Any:
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def _reject_huge_tensors(model: Any) -> None:
    """Reject a layer with an output that would exhaust memory, which needs no large weights, before it is run."""
    pending = [*getattr(model, "operations", [])]
    while pending:
        operation = pending.pop()
        pending += getattr(operation, "operations", [])  # a nested model
        for tensor in (tensor for node in operation._inbound_nodes for tensor in node.output_tensors):
            values = math.prod(size for size in tensor.shape[1:] if size is not None)
            if values > MAX_ROW_VALUES:
                raise PrepareError(
                    Reason.MODEL_UNSAFE,
                    f"the model was not run: layer {operation.name!r} produces {values:,} values per row, "
                    f"more than the {MAX_ROW_VALUES:,} allowed; make its output smaller and save the model again",
                )


def _output_names(model: Any, input_names: list[str]) -> list[str]:
    made = model.output
    names = sorted(map(str, made)) if isinstance(made, dict) else list(model.output_names)
    # A nested structure, two outputs of one layer, an input that is also an output, or a key without a name.
    if "" in names or len(names) != len(model.outputs) or len({*names, *input_names}) != len(names) + len(input_names):
        return [f"output_{index}" for index in range(len(model.outputs))]
    return names


def _input(tensor: Any) -> Tensor:
    name, dtype = tensor.name, keras.backend.standardize_dtype(tensor.dtype)
    if tensor.sparse or getattr(tensor, "ragged", False):
        raise _not_dense("input", name)
    if not tensor.shape:
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED, f"input {name!r} has no batch axis: add one and save the model again"
        )
    # The first axis is the batch, which has any size although the model may be built with a fixed one.
    shape = [-1, *(-1 if size is None else size for size in tensor.shape[1:])]
    return Tensor(name=name, dtype=supported_dtype("input", name, dtype), shape=shape)


def _not_dense(role: str, name: str) -> PrepareError:
    return PrepareError(
        Reason.MODEL_UNSUPPORTED, f"{role} {name!r} is sparse or ragged: make it dense and save the model again"
    )


def supported_dtype(role: str, name: str, dtype: str) -> Dtype:
    """The element type of an input or output.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, if no inference protocol has it.
    """
    if dtype not in get_args(Dtype):
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED, f"{role} {name!r} has type {dtype}, which no inference protocol supports"
        )
    return cast(Dtype, dtype)
