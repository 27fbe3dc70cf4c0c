"""ONNX Runtime on the CPU: an ONNX file in one session, which all threads share."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from keras_runtimes.arrays import Array, Arrays, object_array, string_array
from keras_runtimes.base import (
    ConvertedModel,
    FileSignature,
    InvalidInputError,
    ModelLoadError,
    ModelRunError,
    TensorType,
    check_names,
)

# An error is raised, too; its line on stderr would stand between the JSON lines of the log.
_FATAL_ONLY = 4
_UNKNOWN_OPERATION = re.compile(r"No Op registered for (\w+)|(\w+)\S* is not a registered function/op")
# ONNX Runtime's names of element types, where they are not numpy's.
_DTYPES = {"float": "float32", "double": "float64"}


def load(model: ConvertedModel, *, threads: int) -> OnnxRuntime:
    """See `keras_runtimes.registry.RuntimeInfo.load`."""
    return OnnxRuntime(model, threads=threads)


class OnnxRuntime:
    """See `keras_runtimes.base.Runtime`."""

    def __init__(self, model: ConvertedModel, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        # Idle threads would spin for the next operator and take the CPU from the event loop and from other pods.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's error classes share no base
            unknown = _UNKNOWN_OPERATION.search(str(error))
            reason = f"it has no operation {unknown[1] or unknown[2]}" if unknown else error
            raise ModelLoadError(f"ONNX Runtime cannot open the model: {reason}") from error
        self._inputs, self._outputs = model.bound_inputs, model.bound_outputs
        self._fetches = list(self._outputs.values())
        self._strings = {tensor.name for tensor in model.inputs if tensor.dtype == "string"}
        check_names("input", self._inputs.values(), (node.name for node in self._session.get_inputs()), model.path)
        check_names("output", self._fetches, (node.name for node in self._session.get_outputs()), model.path)

    def signature(self) -> FileSignature:
        """See `Runtime.signature`."""
        return FileSignature(_types(self._session.get_inputs()), _types(self._session.get_outputs()))

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Runtime.run`."""
        feeds = {
            self._inputs[name]: _text(name, array) if name in self._strings else array for name, array in inputs.items()
        }
        try:
            results = self._session.run(self._fetches, feeds)
        except ort_errors.InvalidArgument as error:
            raise InvalidInputError(f"the model rejects the input: {error}") from error
        except Exception as error:
            raise ModelRunError(f"ONNX Runtime cannot run the model: {error}") from error
        return {
            name: string_array(array) if array.dtype == np.object_ else array
            for name, array in zip(self._outputs, results, strict=True)
        }


def _types(nodes: Iterable[onnxruntime.NodeArg]) -> dict[str, TensorType]:
    types = {}
    for node in nodes:
        dtype = node.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
        types[node.name] = TensorType(_DTYPES.get(dtype, dtype), shape)
    return types


def _text(name: str, array: Array) -> Array:
    """ONNX strings are text, and ONNX Runtime passes only `str` on unchanged."""
    try:
        return object_array([value.decode() for value in array.ravel().tolist()], array.shape)
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"input {name!r} holds a string that is not UTF-8: {error}") from error
