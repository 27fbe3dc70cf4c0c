"""The Open Inference Protocol (version 2) over HTTP, with the binary tensor extension.

Binary tensors follow the JSON, whose length is in a header; the JSON has the number of bytes of each tensor. Numbers
are little-endian, row by row; a string is its length in four bytes, and its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import prod
from typing import Annotated, Any

import msgspec

from keras_api import __version__
from keras_api.manifest import Tensor
from keras_runtimes.arrays import NUMPY_DTYPES, Array
from keras_server.dataplane import InferRequest, InferResponse
from keras_server.errors import InvalidRequestError
from keras_server.health import Health
from keras_server.model import ModelInfo
from keras_server.protocols import binary_tensors, json_tensors, json_tokens, triton
from keras_server.protocols.base import Body, Exchange, Protocol
from keras_server.signature import Signature, shape_error

# Inference-Header-Content-Length, as the extension names it.
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
SERVER_NAME = "keras-server"
DATATYPES = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
"""The protocol's names of the element types that manifests name."""

Size = Annotated[int, msgspec.Meta(ge=0)]


BFLOAT16 = "BF16"
"""Half of a float32, which clients may send as binary data where the model takes a wider float."""
_WIDER_THAN_BFLOAT16 = ("float32", "float64")


# Every optional member may be null, which means absent.
class _InputParameters(msgspec.Struct, frozen=True):
    binary_data_size: Size | None = None
    shared_memory_region: str | None = None


class _Input(msgspec.Struct, frozen=True):
    name: str
    shape: list[Size]
    datatype: str
    parameters: _InputParameters | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _OutputParameters(msgspec.Struct, frozen=True):
    binary_data: bool | None = None
    classification: int | None = None
    shared_memory_region: str | None = None


class _Output(msgspec.Struct, frozen=True):
    name: str
    parameters: _OutputParameters | None = None


class _RequestParameters(msgspec.Struct, frozen=True):
    binary_data_output: bool | None = None


class _Request(msgspec.Struct, frozen=True):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: _RequestParameters | None = None


_decode_request = msgspec.json.Decoder(_Request).decode


def decode(body: bytes, headers: Mapping[str, str], model: ModelInfo) -> Exchange:
    """Read an inference request.

    Raises:
        InvalidRequestError: naming the error and what the model expects.
    """
    text, binary = _split(body, headers.get(JSON_LENGTH_HEADER))
    try:
        request = json_tokens.decode(_decode_request, text)
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"the body is not an inference request: {error}") from error
    inputs = _inputs(request, binary, model.signature)
    default = bool(request.parameters and request.parameters.binary_data_output)
    in_binary: dict[str, bool] = {}
    for output in request.outputs or ():
        parameters = output.parameters or _OutputParameters()
        if parameters.classification or parameters.shared_memory_region is not None:
            raise InvalidRequestError(f"output {output.name!r}: classification and shared memory are not supported")
        asked = parameters.binary_data
        in_binary[output.name] = default if asked is None else asked
    return Exchange(
        InferRequest(model.name, model.revision, inputs, tuple(in_binary), request.id),
        partial(encode, in_binary=in_binary or dict.fromkeys(model.signature.outputs, default)),
    )


def encode(response: InferResponse, *, in_binary: Mapping[str, bool]) -> Body:
    """Write a response.

    Args:
        response: the response.
        in_binary: for each output, whether the client wants it after the JSON.

    Raises:
        InvalidRequestError: JSON cannot contain the strings of an output.
    """
    tensors: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, array in response.outputs.items():
        tensor: dict[str, Any] = {"name": name, "datatype": _datatype(array), "shape": list(array.shape)}
        if in_binary[name]:
            binary.append(binary_tensors.dump(array))
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            tensor["data"] = _to_json(name, array)
        tensors.append(tensor)
    identity = {"id": response.id} if response.id is not None else {}
    text = msgspec.json.encode(
        {"model_name": response.model, "model_version": response.revision, **identity, "outputs": tensors}
    )
    if not binary:
        return Body(text)
    return Body(b"".join((text, *binary)), "application/octet-stream", {JSON_LENGTH_HEADER: str(len(text))})


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions of this server."""
    return {"name": SERVER_NAME, "version": __version__, "extensions": ["binary_tensor_data", *triton.EXTENSIONS]}


def model_metadata(model: ModelInfo, _: Health | None = None) -> dict[str, Any]:
    """Names, types and shapes of the model's inputs and outputs."""
    return {
        "name": model.name,
        "versions": [model.revision],
        "platform": triton.platform(model),
        "inputs": [_metadata(tensor) for tensor in model.signature.inputs.values()],
        "outputs": [_metadata(tensor) for tensor in model.signature.outputs.values()],
    }


def model_ready(model: ModelInfo, health: Health) -> dict[str, Any]:
    """Readiness of the model.

    Raises:
        NotReadyError: with the state and its reason.
    """
    health.require_ready()
    return {"name": model.name, "ready": True}


PROTOCOL = Protocol(
    name="oip",
    title="open_inference_protocol",
    models="/v2/models",
    verb="/infer",
    version_name=str,
    decode=decode,
    model_pages={"": model_metadata, "/ready": model_ready},
    model_reports={"/config": triton.model_configuration, "/stats": triton.model_statistics},
    server_pages={"/v2": server_metadata},
    server_reports={
        ("GET", "/v2/models/stats"): triton.all_statistics,
        ("POST", "/v2/repository/index"): triton.repository_index,
    },
    list_paths=lambda name: [f"/v2/models/{name}", f"/v2/models/{name}/infer", "/v2/health/ready"],
)


def _inputs(request: _Request, binary: memoryview, signature: Signature) -> dict[str, Array]:
    inputs: dict[str, Array] = {}
    offset = 0
    for item in request.inputs:
        tensor = signature.input(item.name)
        if item.name in inputs:
            raise InvalidRequestError(f"input {item.name!r} is given twice")
        expected = DATATYPES[tensor.dtype]
        widens = item.datatype == BFLOAT16 and tensor.dtype in _WIDER_THAN_BFLOAT16
        if item.datatype != expected and not widens:
            raise InvalidRequestError(
                f"input {item.name!r} has datatype {item.datatype!r}; the model takes {expected!r}"
            )
        parameters = item.parameters or _InputParameters()
        if parameters.shared_memory_region is not None:
            raise InvalidRequestError(f"input {item.name!r} is in shared memory, which is not supported: send the data")
        if (size := parameters.binary_data_size) is None:
            inputs[item.name] = _from_json(item, tensor)
            continue
        if json_tensors.is_given(item.data):
            raise InvalidRequestError(f"input {item.name!r} has both data and binary_data_size; send one of them")
        if offset + size > len(binary):
            raise InvalidRequestError(
                f"input {item.name!r} has {size} binary bytes; {len(binary) - offset} are left after the JSON"
            )
        inputs[item.name] = _from_binary(binary[offset : offset + size], item, tensor)
        offset += size
    if offset != len(binary):
        raise InvalidRequestError(
            f"{len(binary)} binary bytes follow the JSON; the inputs' binary_data_size add up to {offset}"
        )
    return inputs


def _metadata(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": DATATYPES[tensor.dtype], "shape": tensor.shape}


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


def _from_json(item: _Input, tensor: Tensor) -> Array:
    if item.datatype == BFLOAT16:
        raise InvalidRequestError(
            f"input {item.name!r} has datatype {BFLOAT16!r}, which has no JSON form: send it as binary data"
        )
    if not json_tensors.is_given(item.data):
        raise InvalidRequestError(f"input {item.name!r} has neither data nor binary_data_size")
    nested = json_tensors.begins_with(item.data, b"[[")
    if nested and len(item.shape) != len(tensor.shape):
        raise InvalidRequestError(shape_error(tensor, item.shape))
    array = json_tensors.parse(item.data, tensor, len(item.shape) if nested else 1)
    if (nested and list(array.shape) != item.shape) or array.size != prod(item.shape):
        given = f"shape {list(array.shape)}" if nested else f"{array.size} elements"
        raise InvalidRequestError(f"input {item.name!r} declares shape {item.shape}; its data has {given}")
    return _reshape(array, item)


def _from_binary(data: memoryview, item: _Input, tensor: Tensor) -> Array:
    count = prod(item.shape)
    if tensor.dtype == "string":
        array = binary_tensors.read_strings(data, item.name)
        if array.size != count:
            raise InvalidRequestError(
                f"input {item.name!r} declares shape {item.shape}; its data has {array.size} elements"
            )
        return _reshape(array, item)
    is_bfloat16 = item.datatype == BFLOAT16
    size = count * (2 if is_bfloat16 else NUMPY_DTYPES[tensor.dtype].itemsize)
    if len(data) != size:
        raise InvalidRequestError(
            f"input {item.name!r}: shape {item.shape} of {item.datatype} takes {size} bytes; "
            f"binary_data_size is {len(data)}"
        )
    read = binary_tensors.read_bfloat16 if is_bfloat16 else binary_tensors.read_numbers
    return _reshape(read(data, NUMPY_DTYPES[tensor.dtype]), item)


def _reshape(array: Array, item: _Input) -> Array:
    try:
        return array.reshape(item.shape)
    except ValueError as error:  # more axes, or longer ones, than an array can have
        raise InvalidRequestError(f"input {item.name!r} cannot have shape {item.shape}: {error}") from error


def _datatype(array: Array) -> str:
    return DATATYPES["string" if array.dtype.hasobject else array.dtype.name]


def _to_json(name: str, array: Array) -> Any:
    if not array.dtype.hasobject:
        return json_tensors.dump(array.ravel())
    try:
        return [value.decode() for value in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"output {name!r} has bytes that are not UTF-8, which JSON cannot contain: "
            'request it with {"binary_data": true}'
        ) from error
