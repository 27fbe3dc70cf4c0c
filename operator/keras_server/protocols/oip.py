"""The Open Inference Protocol (version 2) over REST, with the binary tensor extension.

A binary tensor travels after the JSON, whose length a header gives; the JSON then says how many bytes are whose.
Numbers go little-endian and row by row; a string goes as its length in four bytes and itself.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np

from keras_api import __version__
from keras_api.manifest import Tensor
from keras_runtimes.arrays import NUMPY_DTYPES, Array, object_array
from keras_runtimes.registry import RUNTIMES
from keras_server.dtypes import DTYPES
from keras_server.errors import InvalidRequestError
from keras_server.protocols import json_tensors
from keras_server.signature import Signature, describe

# Inference-Header-Content-Length, as the extension names it.
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
_BYTES_LENGTH = struct.Struct("<I")

Size = Annotated[int, msgspec.Meta(ge=0)]


class _InputParameters(msgspec.Struct, frozen=True):
    binary_data_size: Size | None = None
    shared_memory_region: str | None = None


class _Input(msgspec.Struct, frozen=True):
    name: str
    shape: list[Size]
    datatype: str
    parameters: _InputParameters = _InputParameters()
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _OutputParameters(msgspec.Struct, frozen=True):
    binary_data: bool | None = None
    classification: int | None = None
    shared_memory_region: str | None = None


class _Output(msgspec.Struct, frozen=True):
    name: str
    parameters: _OutputParameters = _OutputParameters()


class _RequestParameters(msgspec.Struct, frozen=True):
    binary_data_output: bool = False


class _Request(msgspec.Struct, frozen=True):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] = []
    parameters: _RequestParameters = _RequestParameters()


_decode_request = msgspec.json.Decoder(_Request).decode


@dataclass(frozen=True)
class InferRequest:
    """A decoded request."""

    inputs: dict[str, Array]
    outputs: dict[str, bool] = field(default_factory=dict)  # wanted outputs by name: whether in binary
    id: str | None = None


def decode_request(body: bytes, json_length: str | None, signature: Signature) -> InferRequest:
    """Read an inference request.

    Args:
        body: the whole body.
        json_length: the header `Inference-Header-Content-Length`, None when absent.
        signature: the model's.

    Raises:
        InvalidRequestError: naming what is wrong and what was expected.
    """
    text, binary = _split(body, json_length)
    try:
        request = _decode_request(text)
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"the body is not an inference request: {error}") from error
    inputs: dict[str, Array] = {}
    offset = 0
    for item in request.inputs:
        tensor = signature.input(item.name)
        if item.name in inputs:
            raise InvalidRequestError(f"input {item.name!r} is given twice")
        expected = DTYPES[tensor.dtype].oip
        if item.datatype != expected:
            raise InvalidRequestError(
                f"input {item.name!r} has datatype {item.datatype!r}; the model takes {expected!r}"
            )
        if item.parameters.shared_memory_region is not None:
            raise InvalidRequestError(
                f"input {item.name!r} lies in shared memory, which is not supported: send the data"
            )
        if (size := item.parameters.binary_data_size) is None:
            inputs[item.name] = _from_json(item, tensor)
            continue
        if item.data is not msgspec.UNSET:
            raise InvalidRequestError(f"input {item.name!r} has both data and binary_data_size; send one of them")
        if offset + size > len(binary):
            raise InvalidRequestError(
                f"input {item.name!r} wants {size} binary bytes; {len(binary) - offset} are left after the JSON"
            )
        inputs[item.name] = _from_binary(binary[offset : offset + size], item, tensor)
        offset += size
    if offset != len(binary):
        raise InvalidRequestError(
            f"{len(binary)} binary bytes follow the JSON; the inputs' binary_data_size add up to {offset}"
        )
    return InferRequest(inputs, _wanted(request, signature), request.id)


def encode_response(
    request: InferRequest, outputs: Mapping[str, Array], *, model: str, revision: str
) -> tuple[bytes, int | None]:
    """The response's body and, when binary tensors follow the JSON, the JSON's length.

    Raises:
        InvalidRequestError: when an output holds strings that JSON cannot carry.
    """
    tensors: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, as_binary in request.outputs.items():
        array = outputs[name]
        tensor: dict[str, Any] = {"name": name, "datatype": _oip_type(array), "shape": list(array.shape)}
        if as_binary:
            binary.append(_to_binary(array))
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            tensor["data"] = _to_json(name, array)
        tensors.append(tensor)
    identity = {"id": request.id} if request.id is not None else {}
    text = msgspec.json.encode({"model_name": model, "model_version": revision, **identity, "outputs": tensors})
    return (b"".join((text, *binary)), len(text)) if binary else (text, None)


def server_metadata() -> dict[str, Any]:
    """What this server is."""
    return {"name": "keras-server", "version": __version__, "extensions": ["binary_tensor_data"]}


def model_metadata(signature: Signature, *, model: str, revision: str, runtime: str) -> dict[str, Any]:
    """Names, types and shapes of the model's inputs and outputs."""
    return {
        "name": model,
        "versions": [revision],
        "platform": RUNTIMES[runtime].platform if runtime in RUNTIMES else runtime,
        "inputs": [_metadata(tensor) for tensor in signature.inputs.values()],
        "outputs": [_metadata(tensor) for tensor in signature.outputs.values()],
    }


def _metadata(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": DTYPES[tensor.dtype].oip, "shape": tensor.shape}


def _split(body: bytes, json_length: str | None) -> tuple[memoryview, memoryview]:
    view = memoryview(body)
    if json_length is None:
        return view, view[len(view) :]
    if not (json_length.isascii() and json_length.isdigit() and int(json_length) <= len(view)):
        raise InvalidRequestError(
            f"the header {JSON_LENGTH_HEADER} is {json_length!r}; it must be the length of the JSON in bytes, "
            f"and the whole body has {len(view)}"
        )
    return view[: int(json_length)], view[int(json_length) :]


def _wanted(request: _Request, signature: Signature) -> dict[str, bool]:
    default = request.parameters.binary_data_output
    wanted: dict[str, bool] = {}
    for output in request.outputs:
        if output.name not in signature.outputs:
            raise InvalidRequestError(
                f"the model has no output {output.name!r}; it gives {describe(signature.outputs)}"
            )
        if output.parameters.classification or output.parameters.shared_memory_region is not None:
            raise InvalidRequestError(f"output {output.name!r}: classification and shared memory are not supported")
        binary = output.parameters.binary_data
        wanted[output.name] = default if binary is None else binary
    return wanted or dict.fromkeys(signature.outputs, default)


def _from_json(item: _Input, tensor: Tensor) -> Array:
    if not isinstance(item.data, msgspec.Raw):
        raise InvalidRequestError(f"input {item.name!r} has neither data nor binary_data_size")
    nested = json_tensors.begins_with(item.data, b"[[")
    if nested and len(item.shape) != len(tensor.shape):
        raise InvalidRequestError(f"input {item.name!r} has shape {item.shape}; the model takes {list(tensor.shape)}")
    array = json_tensors.parse(item.data, tensor, len(item.shape) if nested else 1)
    if (nested and list(array.shape) != item.shape) or array.size != prod(item.shape):
        given = f"shape {list(array.shape)}" if nested else f"{array.size} elements"
        raise InvalidRequestError(f"input {item.name!r} says it has shape {item.shape}, but its data has {given}")
    return _reshape(array, item)


def _from_binary(data: memoryview, item: _Input, tensor: Tensor) -> Array:
    count = prod(item.shape)
    if tensor.dtype == "string":
        array = _read_strings(data, item.name)
        if array.size != count:
            raise InvalidRequestError(
                f"input {item.name!r} says it has shape {item.shape}, but its data has {array.size} elements"
            )
        return _reshape(array, item)
    dtype = NUMPY_DTYPES[tensor.dtype]
    if len(data) != count * dtype.itemsize:
        raise InvalidRequestError(
            f"input {item.name!r}: shape {item.shape} of {item.datatype} takes {count * dtype.itemsize} bytes; "
            f"binary_data_size is {len(data)}"
        )
    if tensor.dtype == "bool":
        # A byte other than 0 and 1 would be an invalid bool in memory.
        return _reshape(np.frombuffer(data, np.uint8) != 0, item)
    array = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False)
    # The JSON before it may have any length, and runtimes expect aligned memory.
    return _reshape(array if array.flags.aligned else array.copy(), item)


def _reshape(array: Array, item: _Input) -> Array:
    try:
        return array.reshape(item.shape)
    except ValueError as error:  # more axes, or larger ones, than an array can have
        raise InvalidRequestError(f"input {item.name!r} cannot have shape {item.shape}: {error}") from error


def _read_strings(data: memoryview, name: str) -> Array:
    strings: list[bytes] = []
    offset = 0
    while offset < len(data):
        begin = offset + _BYTES_LENGTH.size
        end = begin + _BYTES_LENGTH.unpack_from(data, offset)[0] if begin <= len(data) else begin
        if end > len(data):
            raise InvalidRequestError(f"input {name!r}: its binary data ends inside of string {len(strings)}")
        strings.append(bytes(data[begin:end]))
        offset = end
    return object_array(strings, (len(strings),))


def _oip_type(array: Array) -> str:
    return "BYTES" if array.dtype == np.object_ else DTYPES[array.dtype.name].oip


def _to_binary(array: Array) -> bytes:
    if array.dtype == np.object_:
        return b"".join(part for value in array.ravel().tolist() for part in (_BYTES_LENGTH.pack(len(value)), value))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _to_json(name: str, array: Array) -> list[Any]:
    values: list[Any] = array.ravel().tolist()
    if array.dtype != np.object_:
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"output {name!r} holds bytes that are not UTF-8, so JSON cannot carry them: "
            'ask for it with {"binary_data": true}'
        ) from error
