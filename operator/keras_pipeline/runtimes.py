"""What can run a bundle, as seen by the checks: named arrays in, named arrays out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import onnxruntime
import tensorflow as tf

from keras_api.limits import cpu_limit
from keras_api.manifest import Tensor
from keras_pipeline.arrays import Arrays, to_numpy
from keras_pipeline.errors import ConversionError
from keras_pipeline.loading import first_lines
from keras_pipeline.saved_model import SIGNATURE

# ONNX Runtime's names for types, where they are not numpy's.
ORT_TYPES = {"float": "float32", "double": "float64"}


class Runtime(Protocol):
    """Runs one converted model."""

    def run(self, arrays: Arrays) -> Arrays:
        """Inference on named arrays.

        Raises:
            ConversionError: the runtime fails on them.
        """


class OnnxRuntime:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, file: Path, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Open the file, which shows operations that were not really converted.

        Raises:
            ConversionError: an operation is unknown, or the names, types or the free batch axis got lost.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpu_limit()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own types share no base but Exception
            unknown = re.search(r"No Op registered for (\w+)|(\w+)\S* is not a registered function/op", str(error))
            what = f"it has no operation {unknown[1] or unknown[2]}" if unknown else first_lines(error)
            raise ConversionError(f"ONNX Runtime cannot open the model: {what}") from error
        _check("input", inputs, self._session.get_inputs())
        _check("output", outputs, self._session.get_outputs())

    def run(self, arrays: Arrays) -> Arrays:
        """Inference on named arrays."""
        try:
            answers = self._session.run(None, arrays)
        except Exception as error:
            raise ConversionError(f"ONNX Runtime cannot run the model: {first_lines(error)}") from error
        names = [output.name for output in self._session.get_outputs()]
        return {name: to_numpy(answer) for name, answer in zip(names, answers, strict=True)}


class TensorFlow:
    """A SavedModel in TensorFlow, without Keras."""

    def __init__(self, folder: Path, inputs: list[Tensor], input_bindings: dict[str, str]) -> None:
        """Load the folder.

        Raises:
            ConversionError: an input got lost.
        """
        self._loaded = tf.saved_model.load(str(folder))  # the function below lives only as long as this
        self._function = self._loaded.signatures[SIGNATURE]
        self._arguments = {t.name: (input_bindings.get(t.name, t.name), t.dtype) for t in inputs}
        known = set(self._function.structured_input_signature[1])
        if known != {argument for argument, _ in self._arguments.values()}:
            raise ConversionError(f"the SavedModel's inputs are called {', '.join(sorted(known))}")

    def run(self, arrays: Arrays) -> Arrays:
        """Inference on named arrays."""
        tensors = {
            argument: tf.convert_to_tensor(arrays[name], dtype) for name, (argument, dtype) in self._arguments.items()
        }
        try:
            answers = self._function(**tensors)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise ConversionError(f"TensorFlow cannot run the exported model: {first_lines(error)}") from error
        return {name: to_numpy(answer) for name, answer in answers.items()}


def _check(role: str, wanted: list[Tensor], found: list[onnxruntime.NodeArg]) -> None:
    kinds = {arg.name: arg.type.removeprefix("tensor(").removesuffix(")") for arg in found}
    types = {name: ORT_TYPES.get(kind, kind) for name, kind in kinds.items()}
    expected = {tensor.name: tensor.dtype for tensor in wanted}
    if types != expected:
        raise ConversionError(f"the ONNX model's {role}s are {types}, not {expected}")
    fixed = next((arg for arg in found if arg.shape and isinstance(arg.shape[0], int)), None)
    if fixed is not None:
        raise ConversionError(f"the ONNX model's {role} {fixed.name!r} takes {fixed.shape[0]} rows only")
