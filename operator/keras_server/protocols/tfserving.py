"""TensorFlow Serving's REST API: `:predict` in row and column format, status and metadata.

Row format: ``{"instances": [...]}``, a list of rows, each the value of the only input or an object by input name;
answered with ``{"predictions": [...]}``. Column format: ``{"inputs": ...}``, whole tensors; answered with
``{"outputs": ...}``. An output alone stands without its name. Bytes travel as ``{"b64": "..."}``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from keras_api.manifest import Tensor
from keras_runtimes.arrays import NUMPY_DTYPES, Array, object_array
from keras_server.dtypes import DTYPES
from keras_server.errors import InvalidRequestError
from keras_server.protocols import json_tensors
from keras_server.signature import ANY_SIZE, Signature, describe

SIGNATURE_NAME = "serving_default"
# "serve" is what Keras calls the same signature when it exports.
_SIGNATURE_NAMES = ("", SIGNATURE_NAME, "serve")
# TensorFlow Serving's rule: outputs whose name ends so hold bytes, not text.
_BYTES_SUFFIX = "_bytes"


class _Request(msgspec.Struct, frozen=True):
    signature_name: str = SIGNATURE_NAME
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True)
class PredictRequest:
    """A decoded request."""

    inputs: dict[str, Array]
    format: Literal["row", "column"]


def decode_request(body: bytes, signature: Signature) -> PredictRequest:
    """Read a predict request.

    Raises:
        InvalidRequestError: naming what is wrong and what was expected.
    """
    try:
        request = _decode_request(body)
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"the body is not a predict request: {error}") from error
    if request.signature_name not in _SIGNATURE_NAMES:
        raise InvalidRequestError(
            f"signature {request.signature_name!r} is not known; this model has {SIGNATURE_NAME!r}"
        )
    rows, columns = request.instances, request.inputs
    if isinstance(rows, msgspec.Raw) and not isinstance(columns, msgspec.Raw):
        return PredictRequest(_from_rows(rows, signature), "row")
    if isinstance(columns, msgspec.Raw) and not isinstance(rows, msgspec.Raw):
        return PredictRequest(_from_columns(columns, signature), "column")
    raise InvalidRequestError('a predict request has either "instances" (row format) or "inputs" (column format)')


def encode_response(request: PredictRequest, outputs: Mapping[str, Array]) -> bytes:
    """The response's body.

    Raises:
        InvalidRequestError: when the row format is asked of outputs that have no rows.
    """
    values = {name: _to_json(name, array) for name, array in outputs.items()}
    if request.format == "column":
        return msgspec.json.encode({"outputs": _bare_if_alone(values)})
    rows = {array.shape[0] if array.ndim else None for array in outputs.values()}
    if len(rows) != 1 or None in rows:
        shapes = ", ".join(f"{name!r} {list(array.shape)}" for name, array in outputs.items())
        raise InvalidRequestError(f'the outputs ({shapes}) do not come in rows: ask in column format, with "inputs"')
    if len(values) == 1:
        return msgspec.json.encode({"predictions": _bare_if_alone(values)})
    return msgspec.json.encode(
        {"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}
    )


def status(version: str, *, unavailable: str | None) -> dict[str, Any]:
    """Status of the only version; `unavailable` says why it does not answer, None that it does."""
    state = "AVAILABLE" if unavailable is None else "LOADING"
    code = "OK" if unavailable is None else "UNAVAILABLE"
    return {
        "model_version_status": [
            {"version": version, "state": state, "status": {"error_code": code, "error_message": unavailable or ""}}
        ]
    }


def metadata(signature: Signature, *, model: str, version: str) -> dict[str, Any]:
    """The model's signature as TensorFlow Serving tells it."""
    definition = {
        "inputs": {name: _tensor_info(tensor) for name, tensor in signature.inputs.items()},
        "outputs": {name: _tensor_info(tensor) for name, tensor in signature.outputs.items()},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE_NAME: definition}}},
    }


def _tensor_info(tensor: Tensor) -> dict[str, Any]:
    return {
        "dtype": DTYPES[tensor.dtype].tensorflow,
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
            f'"instances" must be a list of objects that name the inputs {describe(signature.inputs)}: {error}'
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
            f'"inputs" must be an object that names the inputs {describe(signature.inputs)}: {error}'
        ) from error
    return {name: _column(signature.input(name), column) for name, column in columns.items()}


def _column(tensor: Tensor, raw: msgspec.Raw) -> Array:
    return json_tensors.parse(raw, tensor, len(tensor.shape), base64_allowed=True)


def _stack(tensor: Tensor, values: list[msgspec.Raw]) -> Array:
    if not tensor.shape or tensor.shape[0] != ANY_SIZE:
        raise InvalidRequestError(f'input {tensor.name!r} has no rows: ask in column format, with "inputs"')
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
    """Whether a value names inputs, as opposed to being the value of one: only ``{"b64": ...}`` is both objects."""
    if not json_tensors.begins_with(raw, b"{"):
        return False
    try:
        keys = _decode_object(raw).keys()
    except msgspec.DecodeError:
        return True  # it is said there what is wrong with it
    return keys != {"b64"} or "b64" in signature.inputs


def _first_is_object_of_names(raw: msgspec.Raw, signature: Signature) -> bool:
    if not json_tensors.begins_with(raw, b"[{"):
        return False
    try:
        first = _decode_rows(raw)[0]
    except msgspec.DecodeError:
        return True
    return _is_object_of_names(first, signature)


def _bare_if_alone(values: dict[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values


def _to_json(name: str, array: Array) -> Any:
    if array.dtype != np.object_:
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
