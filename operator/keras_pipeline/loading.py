"""Loads a checked model file with Keras, and determines the names, types and shapes of its inputs and outputs.

An input has the name of its Keras input layer (`keras.Input(name=...)`). An output has the name of its key if the
model's outputs are a dict, else that of the layer that produces it. If two names are equal, or an output has the name
of an input, the outputs are named output_0, output_1, ...
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class LoadedModel:
    """A loaded Keras model, as a function of named tensors."""

    keras: Any
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: int

    @property
    def free_inputs(self) -> list[str]:
        """Names of the inputs with a free axis besides the batch."""
        return [tensor.name for tensor in self.inputs if -1 in tensor.shape[1:]]

    def __call__(self, *tensors: Any) -> dict[str, Any]:
        """Run inference on TensorFlow tensors in the order of `inputs`. Returns the output tensors by name."""
        answers = self.keras(keras.tree.pack_sequence_as(self.keras.input, list(tensors)), training=False)
        return {
            output.name: tf.cast(answer, output.dtype) if answer.dtype == tf.bfloat16 else answer
            for output, answer in zip(self.outputs, keras.tree.flatten(answers), strict=True)
        }

    def run(self, arrays: Arrays) -> Arrays:
        """Run inference on named arrays. Its outputs are the reference for every converted model.

        Raises:
            PrepareError: MODEL_UNSUPPORTED, if Keras fails on the inputs.
            MemoryError: the inputs need more memory than is available.
        """
        try:
            answers = self(*(tf.convert_to_tensor(arrays[tensor.name], tensor.dtype) for tensor in self.inputs))
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(first_lines(error)) from error
        except (ValueError, TypeError, tf.errors.OpError) as error:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
            raise PrepareError(
                Reason.MODEL_UNSUPPORTED,
                f"Keras cannot run the model on inputs of shape {shapes}: {first_lines(error)}. "
                "A model must accept any number of rows",
            ) from error
        return {name: to_numpy(answer) for name, answer in answers.items()}


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
    inputs = [_tensor(tensor.name, tensor, "input") for tensor in model.inputs]
    names = _output_names(model, [tensor.name for tensor in inputs])
    outputs = [_tensor(name, tensor, "output") for name, tensor in zip(names, model.outputs, strict=True)]
    return LoadedModel(model, inputs, outputs, model.count_params())


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
    # A nested structure, two outputs of one layer, or an input that is also an output.
    if len(names) != len(model.outputs) or len({*names, *input_names}) != len(names) + len(input_names):
        return [f"output_{index}" for index in range(len(model.outputs))]
    return names


def _tensor(name: str, tensor: Any, role: str) -> Tensor:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if role == "output" and dtype == "bfloat16":
        dtype = "float32"  # neither the protocols nor numpy have bfloat16; float32 represents its values exactly
    if dtype not in get_args(Dtype):
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED, f"{role} {name!r} has type {dtype}, which no inference protocol supports"
        )
    if tensor.sparse or getattr(tensor, "ragged", False):
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED, f"{role} {name!r} is sparse or ragged: make it dense and save the model again"
        )
    if not tensor.shape:
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED, f"{role} {name!r} has no batch axis: add one and save the model again"
        )
    # The first axis is the batch, which has any size although the model may be built with a fixed one.
    shape = [-1, *(-1 if size is None else size for size in tensor.shape[1:])]
    return Tensor(name=name, dtype=cast(Dtype, dtype), shape=shape)
