"""Responses are compressed on request, if they are long enough and become smaller."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_server.http_front.compression import MIN_BYTES

Serving = Callable[[str], Any]
PREDICT = "/v1/models/copy:predict"
NOISE = np.random.default_rng(2).normal(size=(1, 100_000)).astype(np.float32)


def ask(server: Any, numbers: int, accept: str | None) -> Any:
    return server.post(PREDICT, {"instances": [[0.5] * numbers]}, {"Accept-Encoding": accept} if accept else {})


@pytest.mark.parametrize(
    ("accept", "coding", "decompress"),
    [
        ("gzip", "gzip", gzip.decompress),
        ("gzip, deflate, br", "gzip", gzip.decompress),
        ("deflate", "deflate", zlib.decompress),
        ("gzip;q=0.1, deflate;q=0.9", "deflate", zlib.decompress),
        ("GZIP", "gzip", gzip.decompress),
        ("*", "gzip", gzip.decompress),
        (None, None, bytes),
        ("br", None, bytes),
        ("gzip;q=0", None, bytes),
        ("identity", None, bytes),
        ("gzip;q=0.5, identity", None, bytes),
        ("gzip;q=many", None, bytes),
    ],
)
@pytest.mark.parametrize("numbers", [1000, 200_000], ids=["small", "large"])
def test_the_client_chooses_the_coding(
    serving: Serving, numbers: int, accept: str | None, coding: str | None, decompress: Callable[[bytes], bytes]
) -> None:
    answer = ask(serving("copy"), numbers, accept)

    assert answer.headers["Content-Encoding"] == coding
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert len(json.loads(decompress(answer.body))["predictions"][0]) == numbers


def test_a_short_response_is_not_compressed(serving: Serving) -> None:
    server = serving("copy")
    numbers = MIN_BYTES // len("0.5,")

    short, long = ask(server, numbers - 20, "gzip"), ask(server, numbers + 20, "gzip")

    assert (short.headers["Content-Encoding"], short.headers["Vary"]) == (None, None)
    assert long.headers["Content-Encoding"] == "gzip"


def test_a_response_that_does_not_become_smaller_is_sent_as_it_is(serving: Serving) -> None:
    server = serving("copy")
    x = {"name": "x", "shape": list(NOISE.shape), "datatype": "FP32", "parameters": {"binary_data_size": NOISE.nbytes}}
    text = json.dumps({"inputs": [x], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text)), "Accept-Encoding": "gzip"}

    answer = server.post("/v2/models/copy/infer", text + NOISE.tobytes(), headers)

    assert answer.headers["Content-Encoding"] is None
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.body.endswith(NOISE.tobytes())


def test_the_metrics_are_compressed_too(serving: Serving) -> None:
    answer = serving("copy").request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})

    assert b"keras_server_ready 1.0" in gzip.decompress(answer.body)
