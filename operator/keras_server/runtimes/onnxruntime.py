"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

# Read at the import: the library would report its use to its makers over the network.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from keras_server.bundle import Bundle, BundleError
from keras_server.dtypes import Array, string_array
from keras_server.errors import InferenceError, InvalidRequestError

_ERRORS_ONLY = 3


class OnnxRuntime:
    """One session, which all threads share."""

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        manifest = bundle.manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Idle threads would spin for the next operator and take the CPU from the event loop and from other pods.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(bundle.entry, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's error classes share no base
            raise BundleError(f"ONNX Runtime cannot load {bundle.entry}: {error}") from error
        self._inputs = {t.name: manifest.input_bindings.get(t.name, t.name) for t in manifest.model.inputs}
        self._outputs = {t.name: manifest.output_bindings.get(t.name, t.name) for t in manifest.model.outputs}
        self._fetches = list(self._outputs.values())
        self._strings = {tensor.name for tensor in manifest.model.inputs if tensor.dtype == "string"}
        _check_names("inputs", self._inputs, {node.name for node in self._session.get_inputs()}, exact=True)
        _check_names("outputs", self._outputs, {node.name for node in self._session.get_outputs()}, exact=False)

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Runtime.infer`."""
        feeds = {
            self._inputs[name]: _text(name, array) if name in self._strings else array for name, array in inputs.items()
        }
        try:
            results = self._session.run(self._fetches, feeds)
        except ort_errors.InvalidArgument as error:
            raise InvalidRequestError(f"the model refuses the input: {error}") from error
        except Exception as error:
            raise InferenceError(f"ONNX Runtime failed: {error}") from error
        return {
            name: string_array(array) if array.dtype == np.object_ else array
            for name, array in zip(self._outputs, results, strict=True)
        }


def _check_names(kind: str, wanted: dict[str, str], present: set[str], *, exact: bool) -> None:
    names = set(wanted.values())
    if not names <= present or (exact and names != present):
        raise BundleError(f"the manifest's {kind} are {sorted(names)}, those of the ONNX file {sorted(present)}")


def _text(name: str, array: Array) -> Array:
    """ONNX strings are text, and only `str` gets through unchanged."""
    try:
        texts = [value.decode() for value in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"input {name!r} holds a string that is not UTF-8: {error}") from error
    result = np.empty(len(texts), dtype=np.object_)
    result[:] = texts
    return result.reshape(array.shape)
