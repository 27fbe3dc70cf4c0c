"""Both protocols over HTTP, as a client with nothing but an HTTP library sees them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Serving = Callable[[str], Any]
PIXELS = {"name": "pixels", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


def test_the_index_names_the_model_and_lists_the_paths(serving: Serving) -> None:
    answer = serving("classifier").get("/").json

    assert (answer["model"], answer["revision"], answer["state"]) == ("classifier", "00000000ff", "ready")
    assert "/v2/models/classifier/infer" in answer["open_inference_protocol"]


def test_server_metadata_names_the_extensions(serving: Serving) -> None:
    answer = serving("classifier").get("/v2").json

    assert answer["name"] == "keras-server"
    assert answer["extensions"] == ["binary_tensor_data", "model_configuration", "statistics"]


@pytest.mark.parametrize("version", ["", "/versions/00000000ff", "/versions/255"])
def test_the_model_answers_with_and_without_its_version(serving: Serving, version: str) -> None:
    server = serving("classifier")

    assert server.get(f"/v2/models/classifier{version}").json == {
        "name": "classifier",
        "versions": ["00000000ff"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
    }
    assert server.get(f"/v2/models/classifier{version}/ready").status == 200
    assert server.post(f"/v2/models/classifier{version}/infer", {"inputs": [PIXELS]}).status == 200
    assert server.get(f"/v1/models/classifier{version}").json == {
        "model_version_status": [
            {"version": "255", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    signature = server.get(f"/v1/models/classifier{version}/metadata").json["metadata"]["signature_def"]
    assert signature["signature_def"]["serving_default"]["inputs"]["pixels"]["dtype"] == "DT_FLOAT"
    assert server.post(f"/v1/models/classifier{version}:predict", {"instances": [[1, 2, 3, 4]]}).status == 200


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/v2/models/other/infer", "model 'other' is not served here; this server serves 'classifier'"),
        ("/v1/models/other:predict", "model 'other' is not served here; this server serves 'classifier'"),
        ("/v2/models/classifier/versions/7/infer", "version '7' of 'classifier' is not served here"),
        ("/v1/models/classifier/versions/7:predict", "version '7' of 'classifier' is not served here"),
        ("/v1/models/classifier:classify", "POST /v1/models/classifier:classify does not exist; GET / lists"),
    ],
)
def test_a_model_that_is_not_served_is_named(serving: Serving, path: str, complaint: str) -> None:
    answer = serving("classifier").post(path, {})

    assert answer.status == 404
    assert complaint in answer.json["error"]


def test_the_wrong_method_is_not_allowed(serving: Serving) -> None:
    answer = serving("classifier").get("/v2/models/classifier/infer")

    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_both_protocols_give_the_same_scores(serving: Serving) -> None:
    server = serving("classifier")

    by_oip = server.post("/v2/models/classifier/infer", {"id": "7", "inputs": [PIXELS]}).json
    by_row = server.post("/v1/models/classifier:predict", {"instances": [[1, 2, 3, 4]]}).json
    by_column = server.post("/v1/models/classifier:predict", {"inputs": {"pixels": [[1, 2, 3, 4]]}}).json

    assert by_oip["id"] == "7"
    assert (by_oip["model_name"], by_oip["model_version"]) == ("classifier", "00000000ff")
    scores = by_oip["outputs"][0]["data"]
    assert by_oip["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [1, 3], "data": scores}]
    assert sum(scores) == pytest.approx(1)
    assert by_row == {"predictions": [scores]}
    assert by_column == {"outputs": [scores]}


def test_several_inputs_and_outputs_go_by_name_in_every_format(serving: Serving) -> None:
    server = serving("two-by-two")
    rows = [{"a": [1, 2], "b": 10}, {"a": [3, 4], "b": 20}]

    by_row = server.post("/v1/models/two-by-two:predict", {"instances": rows}).json
    by_column = server.post("/v1/models/two-by-two:predict", {"inputs": {"b": [10, 20], "a": [[1, 2], [3, 4]]}}).json
    inputs = [
        {"name": "b", "shape": [2], "datatype": "INT64", "data": [10, 20]},
        {"name": "a", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]},
    ]
    by_oip = server.post("/v2/models/two-by-two/infer", {"inputs": inputs, "outputs": [{"name": "next"}]}).json

    assert by_row == {"predictions": [{"total": 3, "next": 11}, {"total": 7, "next": 21}]}
    assert by_column == {"outputs": {"total": [3, 7], "next": [11, 21]}}
    assert by_oip["outputs"] == [{"name": "next", "datatype": "INT64", "shape": [2], "data": [11, 21]}]


def test_nan_and_infinity_are_null_in_json_and_themselves_in_binary(serving: Serving) -> None:
    server = serving("logarithm")
    x = {"name": "x", "shape": [3], "datatype": "FP32", "data": [1, 0, -1]}

    assert server.post("/v1/models/logarithm:predict", {"instances": [1, 0, -1]}).json == {
        "predictions": [0, None, None]
    }
    assert server.post("/v2/models/logarithm/infer", {"inputs": [x]}).json["outputs"][0]["data"] == [0, None, None]
    binary = server.post("/v2/models/logarithm/infer", {"inputs": [x], "parameters": {"binary_data_output": True}})
    numbers = np.frombuffer(binary.body[int(binary.headers["Inference-Header-Content-Length"]) :], "<f4")
    np.testing.assert_array_equal(numbers, np.array([0, -np.inf, np.nan], np.float32))


def test_values_that_the_model_rejects_are_an_invalid_request(serving: Serving) -> None:
    answer = serving("embedding").post("/v1/models/embedding:predict", {"instances": [1, 3]})

    assert answer.status == 400
    assert "the model rejects the input" in answer.json["error"]
    assert "3" in answer.json["error"]


@pytest.mark.parametrize(
    ("body", "headers", "complaint"),
    [
        (b"", {}, "the body is not an inference request"),
        (b"{", {}, "the body is not an inference request"),
        (b"\x1f\x8b", {"Content-Encoding": "gzip"}, "the body"),
        ({"inputs": [PIXELS | {"shape": [2, 2]}]}, {}, "input 'pixels' has shape [2, 2]; the model takes [-1, 4]"),
    ],
    ids=["empty", "not JSON", "not gzip", "wrong shape"],
)
def test_an_invalid_request_is_answered_with_the_reason(
    serving: Serving, body: Any, headers: dict[str, str], complaint: str
) -> None:
    answer = serving("classifier").post("/v2/models/classifier/infer", body, headers)

    assert answer.status == 400
    assert complaint in answer.json["error"]


def test_a_compressed_body_is_read(serving: Serving) -> None:
    body = gzip.compress(b'{"instances": [[1, 2, 3, 4]]}')

    answer = serving("classifier").post("/v1/models/classifier:predict", body, {"Content-Encoding": "gzip"})

    assert answer.status == 200


def test_a_compressed_body_is_bounded_by_its_true_size(serving: Serving) -> None:
    bomb = gzip.compress(b" " * (65 * 2**20))

    answer = serving("classifier").post("/v1/models/classifier:predict", bomb, {"Content-Encoding": "gzip"})

    assert answer.status == 413


def test_the_metrics_count_requests(start: Callable[..., Any]) -> None:
    server = start("classifier").listening().ready()
    server.post("/v1/models/classifier:predict", {"instances": [[1, 2, 3, 4]] * 3})
    server.post("/v2/models/classifier/infer", {"inputs": [PIXELS | {"datatype": "INT8"}]})
    server.get("/v2/health/ready")

    lines = server.get("/metrics").body.decode().splitlines()

    for line in (
        'keras_server_requests_total{code="200",protocol="tfserving"} 1.0',
        'keras_server_requests_total{code="400",protocol="oip"} 1.0',
        'keras_server_request_duration_seconds_count{protocol="tfserving"} 1.0',
        "keras_server_inference_duration_seconds_count 1.0",
        "keras_server_batch_rows_sum 3.0",
        "keras_server_in_flight 0.0",
        "keras_server_ready 1.0",
        'keras_server_model_info{model="classifier",revision="00000000ff",runtime="onnxruntime"} 1.0',
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
