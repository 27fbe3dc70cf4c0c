"""The Open Inference Protocol: what it reads, what it refuses, and what it writes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from keras_api.manifest import Tensor
from keras_server.dataplane import InferRequest, InferResponse
from keras_server.errors import InvalidRequestError
from keras_server.model import ModelInfo
from keras_server.protocols import oip
from keras_server.protocols.base import Body, Exchange
from keras_server.signature import Signature

SIGNATURE = Signature(
    {
        "x": Tensor(name="x", dtype="float32", shape=[-1, 2]),
    },
    {
        "y": Tensor(name="y", dtype="float32", shape=[-1]),
        "label": Tensor(name="label", dtype="string", shape=[-1]),
    },
)
X = {"name": "x", "shape": [2, 2], "datatype": "FP32"}


def one_input(dtype: Any, *shape: int) -> Signature:
    return Signature({"x": Tensor(name="x", dtype=dtype, shape=list(shape))}, {})


def info(signature: Signature) -> ModelInfo:
    return ModelInfo("m", "r", "onnxruntime", signature)


def decode(signature: Signature = SIGNATURE, binary: bytes = b"", **request: Any) -> Exchange:
    text = json.dumps(request).encode()
    return oip.decode(text + binary, {oip.JSON_LENGTH_HEADER: str(len(text))} if binary else {}, info(signature))


def read(signature: Signature = SIGNATURE, binary: bytes = b"", **request: Any) -> InferRequest:
    return decode(signature, binary, **request).request


def encode(outputs: dict[str, np.ndarray], *, in_binary: dict[str, bool], id: str | None = None) -> Body:  # noqa: A002
    return oip.encode(InferResponse("m", "r", outputs, id), in_binary=in_binary)


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]], ids=["flat", "nested"])
def test_json_data_may_be_flat_or_nested(data: Any) -> None:
    array = read(inputs=[X | {"data": data}]).inputs["x"]

    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("bool", [True, False]),
        ("int8", [-128, 127]),
        ("int16", [-(2**15), 2**15 - 1]),
        ("int32", [-(2**31), 2**31 - 1]),
        ("int64", [-(2**63), 2**63 - 1]),
        ("uint8", [0, 255]),
        ("uint16", [0, 2**16 - 1]),
        ("uint32", [0, 2**32 - 1]),
        ("uint64", [0, 2**64 - 1]),
        ("float16", [0.5, 65504]),
        ("float32", [0.5, 3e38]),
        ("float64", [0.1, 1e308]),
    ],
)
def test_every_number_type_is_read_from_json_and_from_binary(dtype: str, values: list[Any]) -> None:
    array = np.array(values, dtype=dtype)
    x = {"name": "x", "shape": [2], "datatype": oip.DATATYPES[dtype]}
    signature = one_input(dtype, -1)

    for request in (
        read(signature, inputs=[x | {"data": values}]),
        read(
            signature, array.tobytes(), inputs=[x | {"parameters": {"binary_data_size": array.nbytes}}], parameters={}
        ),
    ):
        given = request.inputs["x"]
        assert given.dtype == array.dtype
        assert given.flags.aligned
        np.testing.assert_array_equal(given, array)


def test_null_members_are_absent() -> None:
    nothing = {"binary_data_size": None, "shared_memory_region": None}
    x = np.array([[1, 2]], np.float32)
    json_x = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    binary_x = json_x | {"data": None, "parameters": {"binary_data_size": 8}}

    for request in (
        read(inputs=[json_x | {"parameters": None}], id=None, outputs=None, parameters=None),
        read(inputs=[json_x | {"parameters": nothing}]),
        read(binary=x.tobytes(), inputs=[binary_x]),
    ):
        assert (request.inputs["x"].tolist(), request.outputs, request.id) == ([[1, 2]], (), None)


BFLOAT16 = np.array([1.5, -3e38, 1e-40], np.float32).view(np.uint32) >> 16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bfloat16_is_read_into_wider_types(dtype: str) -> None:
    x = {"name": "x", "shape": [3], "datatype": "BF16", "parameters": {"binary_data_size": 6}}

    array = read(one_input(dtype, -1), BFLOAT16.astype("<u2").tobytes(), inputs=[x]).inputs["x"]

    assert array.dtype == dtype
    np.testing.assert_array_equal(array, (BFLOAT16 << 16).view(np.float32).astype(dtype))


@pytest.mark.parametrize(
    ("dtype", "change", "complaint"),
    [
        ("float16", {}, "input 'x' has datatype 'BF16'; the model takes 'FP16'"),
        ("int16", {}, "input 'x' has datatype 'BF16'; the model takes 'INT16'"),
        ("float32", {"parameters": {"binary_data_size": 4}}, "shape [3] of BF16 takes 6 bytes; binary_data_size is 4"),
        ("float32", {"parameters": None, "data": [1, 2, 3]}, "'BF16', which has no JSON form: send it as binary data"),
    ],
)
def test_bfloat16_that_does_not_fit_is_rejected(dtype: str, change: dict[str, Any], complaint: str) -> None:
    x = {"name": "x", "shape": [3], "datatype": "BF16", "parameters": {"binary_data_size": 6}} | change
    size = (x["parameters"] or {}).get("binary_data_size", 0)

    with pytest.raises(InvalidRequestError) as caught:
        read(one_input(dtype, -1), b"\0" * size, inputs=[x])

    assert complaint in str(caught.value)


def test_strings_are_read_from_json_and_from_binary() -> None:
    x = {"name": "x", "shape": [2], "datatype": "BYTES"}
    signature = one_input("string", -1)
    binary = b"\x03\0\0\0a\xffb" + b"\0\0\0\0"

    from_json = read(signature, inputs=[x | {"data": ["grüezi", ""]}])
    from_binary = read(signature, binary, inputs=[x | {"parameters": {"binary_data_size": len(binary)}}])

    assert from_json.inputs["x"].tolist() == ["grüezi".encode(), b""]
    assert from_binary.inputs["x"].tolist() == [b"a\xffb", b""]


def test_a_byte_that_is_not_zero_is_true() -> None:
    x = {"name": "x", "shape": [3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}}

    assert read(one_input("bool", -1), b"\0\1\2", inputs=[x]).inputs["x"].tolist() == [False, True, True]


def test_binary_tensors_follow_each_other_in_the_order_of_the_inputs() -> None:
    signature = Signature(
        {name: Tensor(name=name, dtype=dtype, shape=[-1]) for name, dtype in (("a", "int16"), ("b", "uint8"))}, {}
    )
    b = {"name": "b", "shape": [3], "datatype": "UINT8", "parameters": {"binary_data_size": 3}}
    a = {"name": "a", "shape": [1], "datatype": "INT16", "parameters": {"binary_data_size": 2}}

    request = read(signature, b"\1\2\3" + b"\1\1", inputs=[b, a])

    assert request.inputs["b"].tolist() == [1, 2, 3]
    assert request.inputs["a"].tolist() == [257]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "z", "data": []}, "the model has no input 'z'; its inputs are 'x' float32 [-1, 2]"),
        ({"datatype": "FP64", "data": []}, "input 'x' has datatype 'FP64'; the model takes 'FP32'"),
        ({}, "input 'x' has neither data nor binary_data_size"),
        ({"data": [1, 2, 3]}, "input 'x' declares shape [2, 2]; its data has 3 elements"),
        ({"data": [[1, 2]]}, "input 'x' declares shape [2, 2]; its data has shape [1, 2]"),
        ({"data": [[1, 2], [3]]}, "input 'x' has lists of different lengths"),
        ({"data": [1, 2, 3, "4"]}, "Expected `float`, got `str` - at `$[3]`"),
        ({"data": [1, 2, 3, None]}, "Expected `float`, got `null` - at `$[3]`"),
        ({"data": [[1, 2], 3]}, "Expected `array`, got `int` - at `$[1]`"),
        ({"data": "1234"}, "Expected `array`, got `str`"),
        ({"data": [1, 2, 3, 1e39]}, "input 'x' has a value that does not fit float32"),
        ({"shape": [4], "data": [[1, 2, 3, 4]]}, "input 'x' has shape [4]; the model takes [-1, 2]"),
        ({"shape": [-1, 2], "data": [1, 2]}, "Expected `int` >= 0 - at `$.inputs[0].shape[0]`"),
        ({"shape": [1] * 70, "data": [1]}, "input 'x' cannot have shape"),
        (
            {"data": [1, 2, 3, 4], "parameters": {"binary_data_size": 16}},
            "input 'x' has both data and binary_data_size",
        ),
        ({"parameters": {"binary_data_size": 16}}, "input 'x' has 16 binary bytes; 0 are left after the JSON"),
        (
            {"parameters": {"binary_data_size": -1}},
            "Expected `int` >= 0 - at `$.inputs[0].parameters.binary_data_size`",
        ),
        ({"parameters": {"shared_memory_region": "r"}}, "input 'x' is in shared memory, which is not supported"),
    ],
)
def test_an_input_that_does_not_fit_is_rejected_with_the_reason(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(inputs=[X | change])

    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("binary", "size", "complaint"),
    [
        (b"\0" * 16, 12, "shape [2, 2] of FP32 takes 16 bytes; binary_data_size is 12"),
        (b"\0" * 20, 16, "20 binary bytes follow the JSON; the inputs' binary_data_size add up to 16"),
        (b"\0" * 12, 16, "input 'x' has 16 binary bytes; 12 are left after the JSON"),
    ],
)
def test_binary_data_must_add_up(binary: bytes, size: int, complaint: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(binary=binary, inputs=[X | {"parameters": {"binary_data_size": size}}])

    assert complaint in str(caught.value)


@pytest.mark.parametrize("binary", [b"\1", b"\1\0\0\0", b"\xff\xff\xff\xffa"])
def test_binary_strings_that_are_truncated_are_rejected(binary: bytes) -> None:
    x = {"name": "x", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(binary)}}

    with pytest.raises(InvalidRequestError, match="its binary data ends within string 0"):
        read(one_input("string", -1), binary, inputs=[x])


@pytest.mark.parametrize("length", ["", "-1", "x", "1e1", "99999", "²"])
def test_the_length_header_must_lie_within_the_body(length: str) -> None:
    with pytest.raises(InvalidRequestError, match="Inference-Header-Content-Length"):
        oip.decode(b'{"inputs": []}', {oip.JSON_LENGTH_HEADER: length}, info(SIGNATURE))


def test_an_input_given_twice_is_rejected() -> None:
    with pytest.raises(InvalidRequestError, match="input 'x' is given twice"):
        read(inputs=[X | {"data": [1, 2, 3, 4]}] * 2)


# By default, the response has all outputs.
@pytest.mark.parametrize(
    ("request_part", "form"),
    [
        ({}, {"y": False, "label": False}),
        ({"parameters": {"binary_data_output": True}}, {"y": True, "label": True}),
        ({"parameters": None, "id": None, "outputs": []}, {"y": False, "label": False}),
        ({"parameters": {"binary_data_output": None}}, {"y": False, "label": False}),
        ({"outputs": [{"name": "label", "parameters": None}]}, {"label": False}),
        (
            {"outputs": [{"name": "label", "parameters": {"binary_data": None, "classification": None}}]},
            {"label": False},
        ),
        ({"outputs": [{"name": "label"}]}, {"label": False}),
        ({"outputs": [{"name": "label", "parameters": {"binary_data": True}}]}, {"label": True}),
        (
            {
                "outputs": [{"name": "label", "parameters": {"binary_data": False}}, {"name": "y"}],
                "parameters": {"binary_data_output": True},
            },
            {"label": False, "y": True},
        ),
    ],
)
def test_the_request_chooses_outputs_and_their_form(request_part: dict[str, Any], form: dict[str, bool]) -> None:
    exchange = decode(inputs=[X | {"data": [1, 2, 3, 4]}], **request_part)
    outputs = {"y": np.array([1], np.float32), "label": strings(b"a")}

    answer = exchange.encode(InferResponse("m", "r", {name: outputs[name] for name in form}))

    assert exchange.request.outputs == (tuple(form) if request_part.get("outputs") else ())
    text = answer.content[: int((answer.headers or {}).get(oip.JSON_LENGTH_HEADER, len(answer.content)))]
    tensors = json.loads(text)["outputs"]
    assert {tensor["name"]: "parameters" in tensor for tensor in tensors} == form


def test_classification_is_not_supported() -> None:
    output = {"name": "y", "parameters": {"classification": 3}}

    with pytest.raises(InvalidRequestError, match="classification and shared memory are not supported"):
        read(inputs=[X | {"data": [1, 2, 3, 4]}], outputs=[output])


def strings(*values: bytes) -> np.ndarray:
    return np.array(values, dtype=np.object_)


def test_a_response_carries_json_first_and_binary_after_it() -> None:
    outputs = {"y": np.array([1, 2], np.float32), "label": strings(b"a", "é".encode())}

    answer = encode(outputs, in_binary={"y": True, "label": False}, id="7")

    json_length = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.content_type == "application/octet-stream"
    assert json.loads(answer.content[:json_length]) == {
        "model_name": "m",
        "model_version": "r",
        "id": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["a", "é"]},
        ],
    }
    assert np.frombuffer(answer.content[json_length:], "<f4").tolist() == [1, 2]


def test_strings_in_binary_carry_their_length() -> None:
    answer = encode({"s": strings(b"a\xff", b"")}, in_binary={"s": True})

    assert answer.content.endswith(b"}\2\0\0\0a\xff\0\0\0\0")


def test_bytes_that_are_not_text_are_not_forced_into_json() -> None:
    with pytest.raises(InvalidRequestError, match=r'request it with \{"binary_data": true\}'):
        encode({"s": strings(b"\xff")}, in_binary={"s": False})


def test_numbers_without_a_json_form_become_null() -> None:
    y = np.array([np.nan, np.inf, -np.inf, 1], np.float32)

    answer = encode({"y": y}, in_binary={"y": False})

    assert json.loads(answer.content)["outputs"][0]["data"] == [None, None, None, 1]
