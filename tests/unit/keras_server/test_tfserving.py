"""TensorFlow Serving's REST API: what it reads, what it refuses, and what it writes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from keras_api.manifest import Tensor
from keras_server.errors import InvalidRequestError
from keras_server.protocols import tfserving
from keras_server.signature import Signature


def signature(**inputs: tuple[str, list[int]]) -> Signature:
    return Signature({name: Tensor(name=name, dtype=d, shape=s) for name, (d, s) in inputs.items()}, {})  # type: ignore[arg-type]


ONE = signature(x=("float32", [-1, 2]))
SCALAR = signature(x=("float32", [-1]))
TEXT = signature(x=("string", [-1]))
TEXTS = signature(x=("string", [-1, 2]))
TWO = signature(a=("float32", [-1, 2]), b=("int64", [-1]))
NO_ROWS = signature(a=("float32", [2]), b=("float32", [2]))


def read(of: Signature, **request: Any) -> tfserving.PredictRequest:
    return tfserving.decode_request(json.dumps(request).encode(), of)


@pytest.mark.parametrize(
    ("of", "request_body", "inputs"),
    [
        (ONE, {"instances": [[1, 2], [3, 4]]}, {"x": [[1, 2], [3, 4]]}),
        (ONE, {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, {"x": [[1, 2], [3, 4]]}),
        (ONE, {"inputs": [[1, 2], [3, 4]]}, {"x": [[1, 2], [3, 4]]}),
        (ONE, {"inputs": {"x": [[1, 2], [3, 4]]}}, {"x": [[1, 2], [3, 4]]}),
        (ONE, {"instances": [[1, 2]], "signature_name": "serving_default"}, {"x": [[1, 2]]}),
        (ONE, {"instances": [[1, 2]], "signature_name": "serve"}, {"x": [[1, 2]]}),
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
    request = read(of, **request_body)

    assert {name: array.tolist() for name, array in request.inputs.items()} == inputs
    assert request.format == ("row" if "instances" in request_body else "column")


@pytest.mark.parametrize(
    ("of", "request_body", "complaint"),
    [
        (ONE, {}, 'either "instances" (row format) or "inputs" (column format)'),
        (ONE, {"instances": [], "inputs": []}, 'either "instances" (row format) or "inputs" (column format)'),
        (ONE, {"instances": [[1, 2]], "signature_name": "train"}, "signature 'train' is not known"),
        (ONE, {"instances": [[1, "2"]]}, "input 'x', float32 [-1, 2], cannot be read: Expected `float`, got `str`"),
        (ONE, {"instances": [1, 2]}, "Expected `array`, got `int` - at `$[0]`"),
        (ONE, {"instances": [[1, 2], [3]]}, "input 'x' has lists of different lengths"),
        (ONE, {"instances": [{"x": [1, 2]}, {"x": [3]}]}, "shape [1] in instance 1 and [2] in instance 0"),
        (ONE, {"instances": [{"y": [1, 2]}]}, "instance 0 has the inputs ['y']; the model takes 'x' float32 [-1, 2]"),
        (ONE, {"inputs": {"y": [[1, 2]]}}, "the model has no input 'y'"),
        (ONE, {"instances": [[1, 1e39]]}, "does not fit float32"),
        (TWO, {"instances": [[1, 2]]}, '"instances" must be a list of objects that name the inputs'),
        (TWO, {"instances": [{"a": [1, 2]}]}, "instance 0 has the inputs ['a']"),
        (TWO, {"inputs": [[1, 2]]}, '"inputs" must be an object that names the inputs'),
        (TWO, {"instances": [{"a": [1, 2], "b": 2**63}]}, "input 'b' holds a value that does not fit int64"),
        (TEXT, {"instances": [{"b64": "?"}]}, "input 'x' holds a b64 string that is not base64"),
        (TEXT, {"instances": [{"b64": "/w==", "x": 1}]}, "instance 0 has the inputs ['b64', 'x']"),
        (TEXT, {"instances": [1]}, "Expected `str | object`, got `int`"),
        (NO_ROWS, {"instances": [{"a": 1, "b": 2}]}, "input 'a' has no rows: ask in column format"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_what_is_wrong(
    of: Signature, request_body: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(of, **request_body)

    assert complaint in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"instances": [[NaN, 1]]}', b'{"signature_name": 1}'])
def test_what_is_not_a_predict_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        tfserving.decode_request(body, ONE)


NUMBERS = np.array([[1, 2], [3, 4]], np.float32)
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
    body = tfserving.encode_response(tfserving.PredictRequest({}, kind), outputs)

    assert json.loads(body) == answer


@pytest.mark.parametrize("outputs", [{"y": NUMBERS, "z": np.array([5])}, {"y": np.array(1.0)}])
def test_outputs_without_rows_are_not_forced_into_rows(outputs: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="do not come in rows: ask in column format"):
        tfserving.encode_response(tfserving.PredictRequest({}, "row"), outputs)


def test_metadata_tells_the_signature_in_tensorflow_names() -> None:
    answer = tfserving.metadata(TWO, model="m", version="255")

    assert answer["model_spec"] == {"name": "m", "signature_name": "", "version": "255"}
    definition = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert definition["inputs"]["a"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False},
        "name": "a",
    }
    assert definition["method_name"] == "tensorflow/serving/predict"


def test_the_status_says_why_a_model_does_not_answer() -> None:
    version = tfserving.status("255", unavailable="it loads")["model_version_status"][0]

    assert version["state"] == "LOADING"
    assert version["status"] == {"error_code": "UNAVAILABLE", "error_message": "it loads"}
