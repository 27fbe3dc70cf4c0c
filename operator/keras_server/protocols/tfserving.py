"""TensorFlow Serving's REST API: `:predict` in row and column format, status and metadata.

Row format: ``{"instances": [...]}``, a list of rows, each the value of the only input or an object by input name; the
answer is ``{"predictions": [...]}``. Column format: ``{"inputs": ...}``, whole tensors; the answer is
``{"outputs": ...}``. The only output of a model has no name there. Bytes are ``{"b64": "..."}``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from keras_api.manifest import ANY_SIZE, Tensor
from keras_runtimes.arrays import NUMPY_DTYPES, Array, object_array
from keras_server.dataplane import InferRequest, InferResponse
from keras_server.errors import InvalidRequestError, NotReadyError
from keras_server.health import Health
from keras_server.model import ModelInfo
from keras_server.protocols import json_tensors, json_tokens
from keras_server.protocols.base import Body, Exchange, Protocol
from keras_server.signature import Signature, describe

SIGNATURE_NAME = "serving_default"
# Keras exports the same signature under the name "serve".
_SIGNATURE_NAMES = (None, "", SIGNATURE_NAME, "serve")
# TensorFlow Serving's rule: outputs with this suffix have bytes, not text.
_BYTES_SUFFIX = "_bytes"
DATATYPES = {
    "bool": "DT_BOOL",
    "int8": "DT_INT8",
    "int16": "DT_INT16",
    "int32": "DT_INT32",
    "int64": "DT_INT64",
    "uint8": "DT_UINT8",
    "uint16": "DT_UINT16",
    "uint32": "DT_UINT32",
    "uint64": "DT_UINT64",
    "float16": "DT_HALF",
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "string": "DT_STRING",
}
"""TensorFlow's names of the element types that manifests name."""


class _Request(msgspec.Struct, frozen=True):
    signature_name: str | None = None
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode(body: bytes, _: Mapping[str, str], model: ModelInfo) -> Exchange:
    """Read a predict request.

    Raises:
        InvalidRequestError: naming the error and what the model expects.
    """
    try:
        request = json_tokens.decode(_decode_request, body)
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"the body is not a predict request: {error}") from error
    if request.signature_name not in _SIGNATURE_NAMES:
        raise InvalidRequestError(f"the model has no signature {request.signature_name!r}; it has {SIGNATURE_NAME!r}")
    rows, columns = request.instances, request.inputs
    if json_tensors.is_given(rows) and not json_tensors.is_given(columns):
        return Exchange(InferRequest(model.name, model.revision, _from_rows(rows, model.signature)), encode_rows)
    if json_tensors.is_given(columns) and not json_tensors.is_given(rows):
        inputs = _from_columns(columns, model.signature)
        return Exchange(InferRequest(model.name, model.revision, inputs), encode_columns)
    raise InvalidRequestError('a predict request has either "instances" (row format) or "inputs" (column format)')


def encode_columns(response: InferResponse) -> Body:
    """Write a response in column format."""
    values = {name: _to_json(name, array) for name, array in response.outputs.items()}
    return Body(msgspec.json.encode({"outputs": next(iter(values.values())) if len(values) == 1 else values}))


def encode_rows(response: InferResponse) -> Body:
    """Write a response in row format.

    Raises:
        InvalidRequestError: the outputs have no rows.
    """
    outputs = response.outputs
    rows = {array.shape[0] if array.ndim else None for array in outputs.values()}
    if len(rows) != 1 or None in rows:
        shapes = ", ".join(f"{name!r} {list(array.shape)}" for name, array in outputs.items())
        raise InvalidRequestError(f'the outputs ({shapes}) have no rows: use the column format, with "inputs"')
    if len(outputs) == 1:
        return Body(msgspec.json.encode({"predictions": _to_json(*next(iter(outputs.items())))}))
    return Body(msgspec.json.encode({"predictions": json_tensors.dump_rows(outputs, _to_lists)}))


def version_number(revision: str) -> str:
    """The revision, which is hexadecimal, as a decimal int64: versions are such numbers in TensorFlow Serving."""
    try:
        return str(int(revision, 16) % 2**63)
    except ValueError:  # a bundle made by hand
        return "1"


def status(model: ModelInfo, health: Health) -> dict[str, Any]:
    """Status of the only version."""
    state, code, message = "AVAILABLE", "OK", ""
    try:
        health.require_serving()
    except NotReadyError as error:
        state, code, message = "LOADING", "UNAVAILABLE", str(error)
    version = version_number(model.revision)
    return {
        "model_version_status": [
            {"version": version, "state": state, "status": {"error_code": code, "error_message": message}}
        ]
    }


def metadata(model: ModelInfo, _: Health | None = None) -> dict[str, Any]:
    """The model's signature in TensorFlow Serving's form."""
    definition = {
        "inputs": {name: _tensor_info(tensor) for name, tensor in model.signature.inputs.items()},
        "outputs": {name: _tensor_info(tensor) for name, tensor in model.signature.outputs.items()},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": version_number(model.revision)},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE_NAME: definition}}},
    }


PROTOCOL = Protocol(
    name="tfserving",
    title="tensorflow_serving",
    models="/v1/models",
    verb=":predict",
    version_name=version_number,
    decode=decode,
    model_pages={"": status, "/metadata": metadata},
    server_pages={},
    list_paths=lambda name: [f"/v1/models/{name}/metadata", f"/v1/models/{name}:predict"],
)


def _tensor_info(tensor: Tensor) -> dict[str, Any]:
    return {
        "dtype": DATATYPES[tensor.dtype],
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in tensor.shape],
            "unknown_rank": False,
        },
        "name": tensor.name,
    }


def _from_rows(raw: msgspec.Raw, signature: Signature) -> dict[str, Array]:
    only = _only_input(signature)
    if only is not None and not _first_is_object_of_names(raw, signature):
        return {only.name: json_tensors.parse(raw, only, len(only.shape), base64_allowed=True)}
    try:
        rows = [_decode_object(row) for row in _decode_rows(raw)]
    except msgspec.DecodeError as error:
        raise InvalidRequestError(
            f'"instances" must be a list of objects by input name ({describe(signature.inputs)}): {error}'
        ) from error
    for index, row in enumerate(rows):
        if row.keys() != signature.inputs.keys():
            raise InvalidRequestError(
                f"instance {index} has the inputs {sorted(row)}; the model takes {describe(signature.inputs)}"
            )
    return {name: _stack(tensor, [row[name] for row in rows]) for name, tensor in signature.inputs.items()}


def _from_columns(raw: msgspec.Raw, signature: Signature) -> dict[str, Array]:
    only = _only_input(signature)
    if only is not None and not _is_object_of_names(raw, signature):
        return {only.name: _column(only, raw)}
    try:
        columns = _decode_object(raw)
    except msgspec.DecodeError as error:
        raise InvalidRequestError(
            f'"inputs" must be an object by input name ({describe(signature.inputs)}): {error}'
        ) from error
    return {name: _column(signature.input(name), column) for name, column in columns.items()}


def _column(tensor: Tensor, raw: msgspec.Raw) -> Array:
    return json_tensors.parse(raw, tensor, len(tensor.shape), base64_allowed=True)


def _stack(tensor: Tensor, values: list[msgspec.Raw]) -> Array:
    if not tensor.shape or tensor.shape[0] != ANY_SIZE:
        raise InvalidRequestError(f'input {tensor.name!r} has no rows: use the column format, with "inputs"')
    arrays = [json_tensors.parse(value, tensor, len(tensor.shape) - 1, base64_allowed=True) for value in values]
    if not arrays:
        return np.empty((0, *(max(size, 0) for size in tensor.shape[1:])), NUMPY_DTYPES[tensor.dtype])
    for index, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise InvalidRequestError(
                f"input {tensor.name!r} has shape {list(array.shape)} in instance {index} "
                f"and {list(arrays[0].shape)} in instance 0"
            )
    return np.stack(arrays)


def _only_input(signature: Signature) -> Tensor | None:
    return next(iter(signature.inputs.values())) if len(signature.inputs) == 1 else None


def _is_object_of_names(raw: msgspec.Raw, signature: Signature) -> bool:
    """Whether a value is an object of inputs by name, and not the value of an input: ``{"b64": ...}``, or a mark."""
    if not json_tensors.begins_with(raw, b"{"):
        return False
    try:
        keys = _decode_object(raw).keys()
    except msgspec.DecodeError:
        return True  # the caller decodes it again, and reports the error
    return keys not in ({"b64"}, {json_tokens.KEY}) or keys <= signature.inputs.keys()


def _first_is_object_of_names(raw: msgspec.Raw, signature: Signature) -> bool:
    if not json_tensors.begins_with(raw, b"[{"):
        return False
    try:
        first = _decode_rows(raw)[0]
    except msgspec.DecodeError:
        return True
    return _is_object_of_names(first, signature)


def _to_json(name: str, array: Array) -> Any:
    return _to_lists(name, array) if array.dtype.hasobject else json_tensors.dump(array)


def _to_lists(name: str, array: Array) -> Any:
    if not array.dtype.hasobject:
        return array.tolist()
    as_bytes = name.endswith(_BYTES_SUFFIX)
    strings = [_string(value, as_bytes=as_bytes) for value in array.ravel().tolist()]
    return object_array(strings, array.shape).tolist()


def _string(value: bytes, *, as_bytes: bool) -> str | dict[str, str]:
    if not as_bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(value).decode()}
