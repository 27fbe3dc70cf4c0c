"""TensorFlow Serving's REST API: what it reads, what it refuses, and what it writes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from keras_api.manifest import Tensor
from keras_server.dataplane import InferResponse
from keras_server.errors import InvalidRequestError
from keras_server.health import Health, State
from keras_server.model import ModelInfo
from keras_server.protocols import tfserving
from keras_server.protocols.base import Exchange
from keras_server.signature import Signature


def signature(**inputs: tuple[str, list[int]]) -> Signature:
    return Signature({name: Tensor(name=name, dtype=d, shape=s) for name, (d, s) in inputs.items()}, {})  # type: ignore[arg-type]


ONE = signature(x=("float32", [-1, 2]))
SCALAR = signature(x=("float32", [-1]))
TEXT = signature(x=("string", [-1]))
TEXTS = signature(x=("string", [-1, 2]))
TWO = signature(a=("float32", [-1, 2]), b=("int64", [-1]))
NUMBERS = np.array([[1, 2], [3, 4]], np.float32)
NO_ROWS = signature(a=("float32", [2]), b=("float32", [2]))


def info(of: Signature) -> ModelInfo:
    return ModelInfo("m", "00000000ff", "onnxruntime", of)


def read(of: Signature, **request: Any) -> Exchange:
    return tfserving.decode(json.dumps(request).encode(), {}, info(of))


@pytest.mark.parametrize(
    ("of", "request_body", "inputs"),
    [
        (ONE, {"instances": [[1, 2], [3, 4]]}, {"x": [[1, 2], [3, 4]]}),
        (ONE, {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, {"x": [[1, 2], [3, 4]]}),
        (ONE, {"inputs": [[1, 2], [3, 4]]}, {"x": [[1, 2], [3, 4]]}),
        (ONE, {"inputs": {"x": [[1, 2], [3, 4]]}}, {"x": [[1, 2], [3, 4]]}),
        (ONE, {"instances": [[1, 2]], "signature_name": "serving_default"}, {"x": [[1, 2]]}),
        (ONE, {"instances": [[1, 2]], "signature_name": "serve"}, {"x": [[1, 2]]}),
        (ONE, {"instances": [[1, 2]], "signature_name": None, "inputs": None}, {"x": [[1, 2]]}),
        (ONE, {"inputs": [[1, 2]], "instances": None}, {"x": [[1, 2]]}),
        (SCALAR, {"instances": [1, 2]}, {"x": [1, 2]}),
        (SCALAR, {"instances": [{"x": 1}, {"x": 2}]}, {"x": [1, 2]}),
        (TWO, {"instances": [{"a": [1, 2], "b": 3}]}, {"a": [[1, 2]], "b": [3]}),
        (TWO, {"inputs": {"a": [[1, 2]], "b": [3]}}, {"a": [[1, 2]], "b": [3]}),
        (TEXT, {"instances": ["a", {"b64": "/w=="}]}, {"x": [b"a", b"\xff"]}),
        (TEXT, {"instances": [{"b64": "/w=="}, "a"]}, {"x": [b"\xff", b"a"]}),
        (TEXT, {"instances": [{"x": {"b64": "/w=="}}, {"x": "a"}]}, {"x": [b"\xff", b"a"]}),
        (TEXT, {"inputs": ["a", {"b64": "/w=="}]}, {"x": [b"a", b"\xff"]}),
        (TEXTS, {"instances": [["a", {"b64": "/w=="}]]}, {"x": [[b"a", b"\xff"]]}),
        (signature(b64=("string", [-1])), {"instances": [{"b64": "a"}]}, {"b64": [b"a"]}),
    ],
)
def test_rows_and_columns_become_arrays(of: Signature, request_body: dict[str, Any], inputs: dict[str, Any]) -> None:
    exchange = read(of, **request_body)

    assert {name: array.tolist() for name, array in exchange.request.inputs.items()} == inputs
    answer = json.loads(exchange.encode(InferResponse("m", "r", {"y": NUMBERS})).content)
    assert list(answer) == (["predictions"] if request_body.get("instances") else ["outputs"])


@pytest.mark.parametrize(
    ("of", "request_body", "complaint"),
    [
        (ONE, {}, 'either "instances" (row format) or "inputs" (column format)'),
        (ONE, {"instances": None, "inputs": None}, 'either "instances" (row format) or "inputs" (column format)'),
        (ONE, {"instances": [1, 2]}, "a row of 'x' has shape [2] and looks like [0.0, 0.0]"),
        (TEXTS, {"instances": ["a", "b"]}, """a row of 'x' has shape [2] and looks like ["text", "text"]"""),
        (ONE, {"instances": [], "inputs": []}, 'either "instances" (row format) or "inputs" (column format)'),
        (
            ONE,
            {"instances": [[1, 2]], "signature_name": "train"},
            "the model has no signature 'train'",
        ),
        (ONE, {"instances": [[1, "2"]]}, "input 'x', float32 [-1, 2], cannot be decoded: Expected `float`, got `str`"),
        (ONE, {"instances": [1, 2]}, "Expected `array`, got `int` - at `$[0]`"),
        (ONE, {"instances": [[1, 2], [3]]}, "input 'x' has lists of different lengths"),
        (ONE, {"instances": [{"x": [1, 2]}, {"x": [3]}]}, "shape [1] in instance 1 and [2] in instance 0"),
        (ONE, {"instances": [{"y": [1, 2]}]}, "instance 0 has the inputs ['y']; the model takes 'x' float32 [-1, 2]"),
        (ONE, {"inputs": {"y": [[1, 2]]}}, "the model has no input 'y'"),
        (ONE, {"instances": [[1, 1e39]]}, "does not fit float32"),
        (TWO, {"instances": [[1, 2]]}, '"instances" must be a list of objects by input name'),
        (TWO, {"instances": [{"a": [1, 2]}]}, "instance 0 has the inputs ['a']"),
        (TWO, {"inputs": [[1, 2]]}, '"inputs" must be an object by input name'),
        (TWO, {"instances": [{"a": [1, 2], "b": 2**63}]}, "input 'b' has a value that does not fit int64"),
        (TEXT, {"instances": [{"b64": "?"}]}, "input 'x' has a b64 string that is not base64"),
        (TEXT, {"instances": [{"b64": "/w==", "x": 1}]}, "instance 0 has the inputs ['b64', 'x']"),
        (TEXT, {"instances": [1]}, "Expected `str | object`, got `int`"),
        (NO_ROWS, {"instances": [{"a": 1, "b": 2}]}, "input 'a' has no rows: use the column format"),
    ],
)
def test_a_request_that_does_not_fit_is_rejected_with_the_reason(
    of: Signature, request_body: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(of, **request_body)

    assert complaint in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"instances": [[nan, 1]]}', b'{"signature_name": 1}'])
def test_a_body_that_is_no_predict_request_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        tfserving.decode(body, {}, info(ONE))


LABELS = np.array([b"a", b"\xff"], dtype=np.object_)


@pytest.mark.parametrize(
    ("kind", "outputs", "answer"),
    [
        ("row", {"y": NUMBERS}, {"predictions": [[1, 2], [3, 4]]}),
        ("column", {"y": NUMBERS}, {"outputs": [[1, 2], [3, 4]]}),
        (
            "row",
            {"y": NUMBERS, "z": np.array([5, 6])},
            {"predictions": [{"y": [1, 2], "z": 5}, {"y": [3, 4], "z": 6}]},
        ),
        ("column", {"y": NUMBERS, "z": np.array([5])}, {"outputs": {"y": [[1, 2], [3, 4]], "z": [5]}}),
        ("row", {"y": LABELS}, {"predictions": ["a", {"b64": "/w=="}]}),
        ("row", {"image_bytes": LABELS}, {"predictions": [{"b64": "YQ=="}, {"b64": "/w=="}]}),
        ("row", {"y": np.array([np.nan, 1, -np.inf], np.float16)}, {"predictions": [None, 1, None]}),
        ("row", {"y": np.array([True])}, {"predictions": [True]}),
    ],
)
def test_arrays_become_predictions_or_outputs(kind: Any, outputs: dict[str, Any], answer: dict[str, Any]) -> None:
    encode = {"row": tfserving.encode_rows, "column": tfserving.encode_columns}[kind]

    assert json.loads(encode(InferResponse("m", "r", outputs)).content) == answer


@pytest.mark.parametrize("outputs", [{"y": NUMBERS, "z": np.array([5])}, {"y": np.array(1.0)}])
def test_outputs_without_rows_have_no_row_format(outputs: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="have no rows: use the column format"):
        tfserving.encode_rows(InferResponse("m", "r", outputs))


def test_the_metadata_has_the_signature_in_tensorflows_names() -> None:
    answer = tfserving.metadata(info(TWO))

    assert answer["model_spec"] == {"name": "m", "signature_name": "", "version": "255"}
    definition = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert definition["inputs"]["a"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False},
        "name": "a",
    }
    assert definition["method_name"] == "tensorflow/serving/predict"


def test_the_status_says_why_a_model_does_not_answer() -> None:
    version = tfserving.status(info(ONE), Health())["model_version_status"][0]

    assert (version["version"], version["state"]) == ("255", "LOADING")
    assert version["status"] == {"error_code": "UNAVAILABLE", "error_message": "loading: the server is starting"}


def test_the_status_of_a_ready_model_is_available() -> None:
    health = Health()
    health.become(State.READY, "")

    version = tfserving.status(info(ONE), health)["model_version_status"][0]

    assert (version["state"], version["status"]["error_code"]) == ("AVAILABLE", "OK")


@pytest.mark.parametrize(
    ("revision", "number"),
    [("00000000ff", "255"), ("ffffffffff", "1099511627775"), ("1234567890", "78187493520"), ("by-hand", "1")],
)
def test_a_revision_has_a_number_that_fits_int64(revision: str, number: str) -> None:
    assert tfserving.version_number(revision) == number
