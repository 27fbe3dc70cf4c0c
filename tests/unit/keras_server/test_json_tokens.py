"""NaN, Infinity and -Infinity are read where a number may be, and nowhere else."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import msgspec
import numpy as np
import pytest

from keras_api.manifest import Tensor
from keras_server.dataplane import InferRequest
from keras_server.errors import InvalidRequestError
from keras_server.model import ModelInfo
from keras_server.protocols import json_tensors, json_tokens, oip, tfserving
from keras_server.signature import Signature

NAN, INF = math.nan, math.inf


def info(**inputs: tuple[Any, list[int]]) -> ModelInfo:
    tensors = {name: Tensor(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in inputs.items()}
    return ModelInfo("m", "00000000ff", "onnxruntime", Signature(tensors, {}))


ONE = info(x=("float32", [-1, 2]))
SCALAR = info(x=("float32", [-1]))
TEXT = info(text=("string", [-1]), x=("float16", [-1]))
WHOLE = info(x=("int64", [-1]))


def predict(model: ModelInfo, text: str) -> InferRequest:
    return tfserving.decode(text.encode(), {}, model).request


def infer(model: ModelInfo, text: str) -> InferRequest:
    return oip.decode(text.encode(), {}, model).request


@pytest.mark.parametrize(
    ("model", "text", "x"),
    [
        (ONE, '{"instances": [[NaN, 1], [Infinity, -Infinity]]}', [[NAN, 1], [INF, -INF]]),
        (ONE, '{"instances":[[1,NaN]]}', [[1, NAN]]),
        (ONE, '{"instances": [{"x": [NaN, 1]}, {"x": [2, -Infinity]}]}', [[NAN, 1], [2, -INF]]),
        (ONE, '{"inputs": [[NaN, 1]]}', [[NAN, 1]]),
        (ONE, '{"inputs": {"x": [[1, NaN]]}}', [[1, NAN]]),
        (SCALAR, '{"instances": [NaN, 1]}', [NAN, 1]),
        (SCALAR, '{"instances": [{"x": Infinity}]}', [INF]),
        (SCALAR, '{"instances": [ -Infinity , NaN ] }', [-INF, NAN]),
    ],
)
def test_tensorflow_serving_reads_tokens(model: ModelInfo, text: str, x: Any) -> None:
    np.testing.assert_array_equal(predict(model, text).inputs["x"], np.array(x, np.float32))


@pytest.mark.parametrize("data", ["[NaN, 1, Infinity, -Infinity]", "[[NaN, 1], [Infinity, -Infinity]]"])
def test_the_open_inference_protocol_reads_tokens(data: str) -> None:
    x = f'{{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": {data}}}'

    array = infer(ONE, f'{{"inputs": [{x}]}}').inputs["x"]

    np.testing.assert_array_equal(array, np.array([[NAN, 1], [INF, -INF]], np.float32))


@pytest.mark.parametrize("text", ["NaN", "-Infinity, Infinity", 'a " NaN', "\\", '\\" NaN', "\n NaN"])
def test_strings_with_tokens_stay_as_they_are(text: str) -> None:
    body = json.dumps({"inputs": {"text": [text], "x": [NAN]}})

    inputs = predict(TEXT, body).inputs

    assert inputs["text"].tolist() == [text.encode()]
    assert np.isnan(inputs["x"]).all()
    assert inputs["x"].dtype == np.float16


@pytest.mark.parametrize(
    ("model", "text", "complaint"),
    [
        (WHOLE, '{"instances": [1, NaN]}', "input 'x' has NaN or an infinity, which int64 does not have"),
        (TEXT, '{"inputs": {"text": [NaN], "x": [1]}}', "input 'text' has NaN or an infinity, which string does not"),
        (ONE, '{"instances": [[NaN, "1"]]}', "Expected `float | object`, got `str` - at `$[0][1]`"),
        (ONE, '{"instances": [[NaN, null]]}', "got `null` - at `$[0][1]`"),
        (ONE, '{"instances": [[NaN, {"y": 1}]]}', "input 'x'"),
        (ONE, '{"instances": [[NaN], [1, 2]]}', "input 'x' has lists of different lengths"),
        (ONE, '{"instances": NaN}', "input 'x'"),
        (ONE, '{"instances": [[1, +Infinity]]}', "the body is not a predict request"),
        (ONE, '{"instances": [[1, nan]]}', "the body is not a predict request"),
        (ONE, '{"instances": [[1, -NaN]]}', "the body is not a predict request"),
        (ONE, '{"instances": [[1, NaNNaN]]}', "the body is not a predict request"),
        (ONE, '{"instances": [[1, NaN]', "the body is not a predict request"),
        (ONE, '{"instances": [["NaN", 1]]}', "Expected `float`, got `str`"),
        (ONE, '{"signature_name": NaN, "instances": [[1, 2]]}', "the body is not a predict request"),
        (ONE, '{"instances": [[1, NaN]], "\x7f": 1}', "the body is not a predict request"),
        (ONE, '{"instances": [[{"\x7f": 2}, NaN]]}', "the body is not a predict request"),
        (ONE, '{"instances": [[{"\x7f": 2}, 1]]}', "input 'x'"),
    ],
)
def test_tokens_in_other_places_are_rejected(model: ModelInfo, text: str, complaint: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        predict(model, text)

    assert complaint in str(caught.value)


@pytest.mark.parametrize("member", ['"id": NaN', '"outputs": [{"name": NaN}]'])
def test_tokens_are_not_names(member: str) -> None:
    x = '{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}'

    with pytest.raises(InvalidRequestError, match="the body is not an inference request"):
        infer(ONE, f'{{"inputs": [{x}], {member}}}')


def test_long_lists_with_tokens_are_decoded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_tensors, "PIECE_BYTES", 50)
    x = np.arange(300, dtype=np.float32).reshape(150, 2)
    x[[3, 77, 149], [1, 0, 1]] = NAN, INF, -INF
    monkeypatch.setattr(json_tensors, "_decode_tokens", None)  # which decodes the list at once

    np.testing.assert_array_equal(predict(ONE, json.dumps({"instances": x.tolist()})).inputs["x"], x)


def test_a_body_without_tokens_is_decoded_once() -> None:
    decoded: list[bytes | memoryview] = []

    def decoder(text: bytes | memoryview) -> Any:
        decoded.append(text)
        return msgspec.json.decode(text)

    with pytest.raises(msgspec.DecodeError):
        json_tokens.decode(decoder, b'{"x": [1, }')
    assert json_tokens.decode(decoder, b'{"x": "NaN"}') == {"x": "NaN"}
    assert decoded == [b'{"x": [1, }', b'{"x": "NaN"}']


def test_the_time_for_strings_without_an_end_is_linear() -> None:
    text = b'{"x": [NaN, "' + b'\\"' * 2_000_000

    begin = time.process_time()
    with pytest.raises(msgspec.DecodeError):
        json_tokens.decode(msgspec.json.decode, text)

    assert time.process_time() - begin < 20  # quadratic: hours
