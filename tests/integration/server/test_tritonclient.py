"""The Open Inference Protocol as the client that most people use speaks it: tritonclient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

Serving = Callable[[str], Any]
VALUES = {
    "bool": [[True, False], [False, True]],
    "int8": [[-128, 127], [0, 1]],
    "int16": [[-(2**15), 2**15 - 1], [0, 1]],
    "int32": [[-(2**31), 2**31 - 1], [0, 1]],
    "int64": [[-(2**63), 2**63 - 1], [0, 1]],
    "uint8": [[0, 255], [0, 1]],
    "uint16": [[0, 2**16 - 1], [0, 1]],
    "uint32": [[0, 2**32 - 1], [0, 1]],
    "uint64": [[0, 2**64 - 1], [0, 1]],
    "float16": [[0.5, -65504], [1e-4, 1]],
    "float32": [[0.1, -3e38], [1e-38, 1]],
    "float64": [[0.1, -1e308], [1e-308, 1]],
    "string": [["grüezi", ""], ["日本", "x" * 1000]],
}


@contextmanager
def client_of(server: Any) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    try:
        yield client
    finally:
        client.close()


def array_of(dtype: str) -> np.ndarray:
    if dtype == "string":
        return np.array([[text.encode() for text in row] for row in VALUES[dtype]], dtype=np.object_)
    return np.array(VALUES[dtype], dtype=dtype)


def test_health_and_metadata(serving: Serving) -> None:
    with client_of(serving("classifier")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("classifier")
        assert client.is_model_ready("classifier", "00000000ff")
        extensions = client.get_server_metadata()["extensions"]
        assert extensions == ["binary_tensor_data", "model_configuration", "statistics"]
        assert client.get_model_metadata("classifier")["inputs"][0]["name"] == "pixels"


# FP16 is missing from the JSON rows because the client itself does not send it so.
@pytest.mark.parametrize("binary_output", [True, False], ids=["binary out", "json out"])
@pytest.mark.parametrize("binary_input", [True, False], ids=["binary in", "json in"])
def test_every_type_comes_back_unchanged(serving: Serving, binary_input: bool, binary_output: bool) -> None:
    sent = {dtype: array_of(dtype) for dtype in VALUES}
    inputs = []
    for dtype, array in sent.items():
        item = triton.InferInput(f"in_{dtype}", list(array.shape), np_to_triton_dtype(array.dtype))
        item.set_data_from_numpy(array, binary_data=binary_input or dtype == "float16")
        inputs.append(item)
    outputs = [
        triton.InferRequestedOutput(f"out_{dtype}", binary_data=binary_output or dtype == "float16") for dtype in sent
    ]

    with client_of(serving("every-dtype")) as client:
        result = client.infer("every-dtype", inputs, outputs=outputs, request_id="abc")

    assert result.get_response()["id"] == "abc"
    for dtype, array in sent.items():
        given = result.as_numpy(f"out_{dtype}")
        if dtype == "string" and not binary_output:
            given = np.vectorize(str.encode, otypes=[object])(given)
        assert given.dtype == array.dtype
        np.testing.assert_array_equal(given, array)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_a_compressed_request_is_read(serving: Serving, compression: str) -> None:
    item = triton.InferInput("pixels", [2, 4], "FP32")
    item.set_data_from_numpy(np.ones((2, 4), np.float32))

    with client_of(serving("classifier")) as client:
        result = client.infer("classifier", [item], request_compression_algorithm=compression)

    assert result.as_numpy("scores").shape == (2, 3)


def test_an_error_reaches_the_user(serving: Serving) -> None:
    item = triton.InferInput("pixels", [1, 3], "FP32")
    item.set_data_from_numpy(np.ones((1, 3), np.float32))

    with client_of(serving("classifier")) as client, pytest.raises(InferenceServerException) as caught:
        client.infer("classifier", [item])

    assert caught.value.message() == "input 'pixels' has shape [1, 3]; the model takes [-1, 4]"


CONFIGURATION = {
    "name": "two-by-two",
    "platform": "onnxruntime_onnx",
    "backend": "onnxruntime",
    "version_policy": {"latest": {"num_versions": 1}},
    "max_batch_size": 4096,
    "input": [
        {"name": "a", "data_type": "TYPE_FP32", "dims": [2]},
        {"name": "b", "data_type": "TYPE_INT64", "dims": []},
    ],
    "output": [
        {"name": "total", "data_type": "TYPE_FP32", "dims": []},
        {"name": "next", "data_type": "TYPE_INT64", "dims": []},
    ],
}


@pytest.mark.parametrize("version", ["", "00000000ff"])
def test_the_configuration(serving: Serving, version: str) -> None:
    with client_of(serving("two-by-two")) as client:
        assert client.get_model_config("two-by-two", version) == CONFIGURATION


def test_the_configuration_of_a_model_that_takes_one_row(serving: Serving) -> None:
    with client_of(serving("deviation")) as client:
        assert client.get_model_config("deviation")["max_batch_size"] == 1


def test_the_index_of_the_repository(serving: Serving) -> None:
    server = serving("classifier")
    model = {"name": "classifier", "version": "00000000ff", "state": "READY", "reason": ""}

    with client_of(server) as client:
        assert client.get_model_repository_index() == [model]
    for body in ({}, {"ready": True}, {"ready": None}):
        assert server.post("/v2/repository/index", body).json == [model]
    assert server.post("/v2/repository/index", {"ready": 1}).status == 400


def test_the_index_has_the_reason_why_a_model_is_not_ready(start: Callable[..., Any]) -> None:
    server = start("liar").listening()
    server.wait_for("never ready")

    with client_of(server) as client:
        (model,) = client.get_model_repository_index()
    assert (model["state"], "warm-up failed" in model["reason"]) == ("UNAVAILABLE", True)
    assert server.post("/v2/repository/index", {"ready": True}).json == []


def pixels(rows: int, columns: int = 4) -> triton.InferInput:
    item = triton.InferInput("pixels", [rows, columns], "FP32")
    item.set_data_from_numpy(np.ones((rows, columns), np.float32))
    return item


def test_the_statistics_are_those_of_the_requests(start: Callable[..., Any]) -> None:
    """As perf_analyzer does: before and after, by model and version."""
    with client_of(start("classifier").listening().ready()) as client:
        (before,) = client.get_inference_statistics("classifier")["model_stats"]
        for rows in (1, 3, 3):
            client.infer("classifier", [pixels(rows)])
        with pytest.raises(InferenceServerException):
            client.infer("classifier", [pixels(1, columns=3)])
        with pytest.raises(InferenceServerException):
            client.infer("other", [pixels(1)])
        (after,) = client.get_inference_statistics("classifier", "00000000ff")["model_stats"]
        assert client.get_inference_statistics()["model_stats"] == [after]

    assert (before["inference_count"], before["last_inference"], before["batch_stats"]) == (0, 0, [])
    assert (after["name"], after["version"]) == ("classifier", "00000000ff")
    assert (after["inference_count"], after["execution_count"]) == (7, 3)
    stats = after["inference_stats"]
    computes = ("compute_input", "compute_infer", "compute_output")
    counts = {name: duration["count"] for name, duration in stats.items()}
    assert counts == {
        "success": 3,
        "fail": 1,
        "queue": 3,
        **dict.fromkeys(computes, 3),
        "cache_hit": 0,
        "cache_miss": 0,
    }
    parts = sum(stats[name]["ns"] for name in ("queue", *computes))
    assert 0 < stats["compute_infer"]["ns"] < parts < stats["success"]["ns"] < 60e9
    by_rows = {batch["batch_size"]: {name: batch[name]["count"] for name in computes} for batch in after["batch_stats"]}
    assert by_rows == {1: dict.fromkeys(computes, 1), 3: dict.fromkeys(computes, 2)}
    assert sum(batch["compute_infer"]["ns"] for batch in after["batch_stats"]) == stats["compute_infer"]["ns"]
    assert after["last_inference"] > 1.7e12


def test_statistics_of_all_models_are_not_those_of_a_model_with_that_name(serving: Serving) -> None:
    assert serving("classifier").get("/v2/models/stats").json["model_stats"][0]["name"] == "classifier"


@pytest.mark.parametrize("model", ["every-dtype", "copy"])
def test_bfloat16_is_read_as_the_same_number(serving: Serving, model: str) -> None:
    names = {"every-dtype": ("in_float64", "out_float64"), "copy": ("x", "y")}[model]
    numbers = np.array([[1.5, -3.0e38], [9.2e-41, 0.1]], ml_dtypes.bfloat16)
    item = triton.InferInput(names[0], [2, 2], "BF16")
    item.set_data_from_numpy(numbers)
    others = [] if model == "copy" else [_other(dtype) for dtype in VALUES if dtype != "float64"]

    with client_of(serving(model)) as client:
        result = client.infer(model, [item, *others]).as_numpy(names[1])

    assert result.dtype in (np.float32, np.float64)
    np.testing.assert_array_equal(result, numbers.astype(result.dtype))


@pytest.mark.parametrize(
    ("datatype", "dtype", "binary"),
    [("FP32", np.float32, True), ("FP32", np.float32, False), ("BF16", ml_dtypes.bfloat16, True)],
)
def test_nan_is_rejected_in_every_form(serving: Serving, datatype: str, dtype: Any, binary: bool) -> None:
    item = triton.InferInput("x", [1, 2], datatype)
    item.set_data_from_numpy(np.array([[1, np.nan]], dtype), binary_data=binary)

    with client_of(serving("copy")) as client, pytest.raises(InferenceServerException) as caught:
        client.infer("copy", [item])

    assert "input 'x' has NaN in row 0 at [1]" in caught.value.message()


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_nan_comes_back_if_it_is_accepted(start: Callable[..., Any], binary: bool) -> None:
    item = triton.InferInput("x", [1, 3], "FP32")
    item.set_data_from_numpy(np.array([[1, np.nan, np.inf]], np.float32), binary_data=binary)

    with client_of(start("copy", "--non-finite", "pass").listening().ready()) as client:
        result = client.infer("copy", [item]).as_numpy("y")  # the client asks for binary tensors

    np.testing.assert_array_equal(result, np.array([[1, np.nan, np.inf]], np.float32))


def _other(dtype: str) -> triton.InferInput:
    array = array_of(dtype)
    item = triton.InferInput(f"in_{dtype}", list(array.shape), np_to_triton_dtype(array.dtype))
    item.set_data_from_numpy(array)
    return item


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_a_compressed_response_is_read(serving: Serving, compression: str, binary: bool) -> None:
    outputs = [triton.InferRequestedOutput("scores", binary_data=binary)]

    with client_of(serving("classifier")) as client:
        plain = client.infer("classifier", [pixels(2000)], outputs=outputs)
        result = client.infer("classifier", [pixels(2000)], outputs=outputs, response_compression_algorithm=compression)

    np.testing.assert_array_equal(result.as_numpy("scores"), plain.as_numpy("scores"))
