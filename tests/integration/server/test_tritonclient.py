"""The Open Inference Protocol as the client that most people use speaks it: tritonclient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
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
