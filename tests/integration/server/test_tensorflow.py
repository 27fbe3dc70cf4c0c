"""A bundle that only TensorFlow can run: strings in, strings and numbers out, names bound through the manifest."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_bundles import write_bundle

from keras_api.manifest import Tensor

# In a process of its own: TensorFlow would stay in the test process, with its warnings and its 600 MiB.
WRITE_SAVED_MODEL = """
import sys
import tensorflow as tf

class Shout(tf.Module):
    def __init__(self):
        super().__init__()
        self.volume = tf.Variable([1.0, 2.0, 3.0])

    @tf.function
    def serve(self, words_in, level):
        return {"loud": tf.strings.upper(words_in), "volume": tf.gather(self.volume, level)}

module = Shout()
specs = tf.TensorSpec([None], tf.string, "words_in"), tf.TensorSpec([None], tf.int64, "level")
tf.saved_model.save(module, sys.argv[1], signatures={"serve": module.serve.get_concrete_function(*specs)})
"""


@pytest.fixture(scope="module")
def shout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shout")
    subprocess.run(
        [sys.executable, "-c", WRITE_SAVED_MODEL, str(directory / "saved_model")],
        check=True,
        capture_output=True,
        timeout=240,
    )
    return write_bundle(
        directory,
        runtime="tensorflow",
        entry="saved_model",
        inputs=[
            Tensor(name="words.in", dtype="string", shape=[-1]),
            Tensor(name="level", dtype="int64", shape=[-1]),
        ],
        outputs=[
            Tensor(name="loud", dtype="string", shape=[-1]),
            Tensor(name="volume", dtype="float32", shape=[-1]),
        ],
        input_bindings={"words.in": "words_in"},
        golden={
            "input:words.in": np.array(["hello", "you"]),
            "input:level": np.array([0, 2]),
            "output:loud": np.array(["HELLO", "YOU"]),
            "output:volume": np.array([1, 3], np.float32),
        },
    )


@pytest.fixture(scope="module")
def server(shout: Path, launcher: Callable[..., Any]) -> Iterator[Any]:
    server = launcher(shout, "shout")
    try:
        yield server.listening().ready()
    finally:
        server.stop()


def test_strings_and_numbers_go_through(server: Any) -> None:
    rows = [{"words.in": "a", "level": 0}, {"words.in": {"b64": "/2I="}, "level": 1}]

    assert server.post("/v1/models/shout:predict", {"instances": rows}).json == {
        "predictions": [{"loud": "A", "volume": 1}, {"loud": {"b64": "/0I="}, "volume": 2}]
    }
    inputs = [
        {"name": "words.in", "shape": [1], "datatype": "BYTES", "data": ["a"]},
        {"name": "level", "shape": [1], "datatype": "INT64", "data": [1]},
    ]
    outputs = server.post("/v2/models/shout/infer", {"inputs": inputs}).json["outputs"]
    assert [output["data"] for output in outputs] == [["A"], [2]]


def test_the_metadata_names_the_platform(server: Any) -> None:
    assert server.get("/v2/models/shout").json["platform"] == "tensorflow_savedmodel"


def test_values_that_the_model_rejects_are_an_invalid_request(server: Any) -> None:
    answer = server.post("/v1/models/shout:predict", {"instances": [{"words.in": "a", "level": 3}]})

    assert answer.status == 400
    assert "the model rejects the input" in answer.json["error"]
    assert "3" in answer.json["error"]
