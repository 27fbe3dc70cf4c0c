"""Bundles of tiny ONNX models, and real server processes that serve them on free loopback ports."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

sys.path.append(str(Path(__file__).parents[1]))

from onnx_bundles import ONNX_TYPES, change_model, flowers, onnx_model, value, write_onnx_bundle

from keras_api.manifest import Tensor

# TensorFlow takes 5 s to import on an idle machine, and most of a minute on a very busy one.
START_TIMEOUT = 180.0


# Models


def classifier() -> ModelProto:
    """pixels float32 [-1, 4] -> scores float32 [-1, 3]: a softmax, so that rows add up to 1."""
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    return onnx_model(
        [helper.make_node("MatMul", ["pixels", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["scores"], axis=-1)],
        [value("pixels", "float32", "n", 4)],
        [value("scores", "float32", "n", 3)],
        w=weights,
    )


def two_by_two() -> ModelProto:
    """Two inputs, two outputs, of different types: total = a[:, 0] + a[:, 1], next = b + 1."""
    return onnx_model(
        [
            helper.make_node("ReduceSum", ["a", "axes"], ["total"], keepdims=0),
            helper.make_node("Add", ["b", "one"], ["next"]),
        ],
        [value("a", "float32", "n", 2), value("b", "int64", "n")],
        [value("total", "float32", "n"), value("next", "int64", "n")],
        axes=np.array([1]),
        one=np.array(1),
    )


def every_dtype() -> ModelProto:
    """One input of every type, and one output of every type that gives it back."""
    return onnx_model(
        [helper.make_node("Identity", [f"in_{dtype}"], [f"out_{dtype}"]) for dtype in ONNX_TYPES],
        [value(f"in_{dtype}", dtype, "n", 2) for dtype in ONNX_TYPES],
        [value(f"out_{dtype}", dtype, "n", 2) for dtype in ONNX_TYPES],
    )


def logarithm() -> ModelProto:
    """x float32 [-1] -> y: the logarithm, which is NaN below 0 and -Infinity at 0."""
    return onnx_model(
        [helper.make_node("Log", ["x"], ["y"])], [value("x", "float32", "n")], [value("y", "float32", "n")]
    )


def embedding() -> ModelProto:
    """token int64 [-1] -> vector float32 [-1, 2]: refuses tokens that are not 0, 1 or 2."""
    return onnx_model(
        [helper.make_node("Gather", ["table", "token"], ["vector"])],
        [value("token", "int64", "n")],
        [value("vector", "float32", "n", 2)],
        table=np.arange(6, dtype=np.float32).reshape(3, 2),
    )


def counter() -> ModelProto:
    """steps int64 [-1] -> counted int64 [-1]: counts one by one, so the request sets how long it takes."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Add", ["count", "one"], ["counted_up"]),
        ],
        "body",
        [value("i", "int64"), value("go_on", "bool"), value("count", "int64")],
        [value("still", "bool"), value("counted_up", "int64")],
        [numpy_helper.from_array(np.array(1), "one")],
    )
    return onnx_model(
        [
            helper.make_node("ReduceMax", ["steps"], ["most"], keepdims=0),
            helper.make_node("Loop", ["most", "always", "zero"], ["total"], body=body),
            helper.make_node("Mul", ["steps", "zero"], ["zeros"]),
            helper.make_node("Add", ["zeros", "total"], ["counted"]),
        ],
        [value("steps", "int64", "n")],
        [value("counted", "int64", "n")],
        always=np.array(True),
        zero=np.array(0),
    )


def picture() -> ModelProto:
    """picture float32 [-1, 4, 4, 1] -> brightness float32 [-1]: the mean of a row."""
    return onnx_model(
        [helper.make_node("ReduceMean", ["picture", "axes"], ["brightness"], keepdims=0)],
        [value("picture", "float32", "n", 4, 4, 1)],
        [value("brightness", "float32", "n")],
        axes=np.array([1, 2, 3]),
    )


def copy() -> ModelProto:
    """x float32 [-1, -1] -> y float32 [-1, -1]: the same."""
    return onnx_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", "float32", "n", "m")],
        [value("y", "float32", "n", "m")],
    )


def deviation() -> ModelProto:
    """x float32 [-1, 2] -> y float32 [-1, 2]: the difference from the mean of all rows."""
    return onnx_model(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"]),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [value("x", "float32", "n", 2)],
        [value("y", "float32", "n", 2)],
        axes=np.array([0]),
    )


def _bounded(bundle: Path) -> None:
    """Declare that rows have 2 to 5 numbers, and wrongly that answers have 4."""
    change_model(
        bundle,
        inputs=[Tensor(name="x", dtype="float32", shape=[-1, -1], min_shape=[1, 2], max_shape=[-1, 5])],
        outputs=[Tensor(name="y", dtype="float32", shape=[-1, 4])],
    )


PIXELS = np.random.default_rng(1).random((8, 4), dtype=np.float32)
# How many steps of `counter` take in the order of a second.
SECOND = 500_000


def _every_dtype_golden() -> dict[str, np.ndarray]:
    golden = {f"in_{dtype}": np.array([[0, 1]]).astype(dtype) for dtype in ONNX_TYPES if dtype != "string"}
    return golden | {"in_string": np.array([["grüezi", ""]])}


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundle folders by name."""
    root = tmp_path_factory.mktemp("bundles")
    found = {
        name: write_onnx_bundle(root / name, model, golden, **wrong)
        for name, model, golden, wrong in (
            ("classifier", classifier(), {"pixels": PIXELS}, {}),
            ("liar", classifier(), {"pixels": PIXELS}, {"scores": np.full((8, 3), 0.5, np.float32)}),
            ("flowers", flowers(), {"measures": np.ones((2, 4), np.float32)}, {}),
            ("two-by-two", two_by_two(), {"a": np.ones((8, 2), np.float32), "b": np.arange(8)}, {}),
            ("every-dtype", every_dtype(), _every_dtype_golden(), {}),
            ("logarithm", logarithm(), {"x": np.array([0.5, 0.0, -1.0], np.float32)}, {}),
            ("embedding", embedding(), {"token": np.array([0, 1, 2])}, {}),
            ("counter", counter(), {"steps": np.array([3, 3])}, {}),
            ("sleepyhead", counter(), {"steps": np.array([3 * SECOND])}, {}),
            ("picture", picture(), {"picture": np.ones((2, 4, 4, 1), np.float32)}, {}),
            ("copy", copy(), {"x": np.ones((2, 4), np.float32)}, {}),
            ("bounded", copy(), {"x": np.ones((2, 4), np.float32)}, {}),
            # Each row alone is the mean.
            ("deviation", deviation(), {"x": PIXELS[:, :2]}, {"y": np.zeros((8, 2), np.float32)}),
        )
    }
    _bounded(found["bounded"])
    change_model(found["deviation"], rows_independent=False)
    return found


# Processes


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body as strict JSON: Python's parser would take NaN."""
        return json.loads(self.body, parse_constant=pytest.fail)


@dataclass
class Server:
    """A running `python -m keras_server`."""

    process: subprocess.Popen[str]
    log: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.log.append(json.loads(line) if line.startswith("{") else {"message": line.rstrip()})
                self._news.notify_all()
        with self._news:
            self.log.append({"message": "end"})
            self._news.notify_all()

    def wait_for(self, message: str) -> dict[str, Any]:
        """The first log record whose message starts so."""

        def found() -> dict[str, Any] | None:
            return next((r for r in self.log if r["message"].startswith(message) or r["message"] == "end"), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None, timeout=START_TIMEOUT)
            record = found()
        assert record is not None, f"no {message!r} within {START_TIMEOUT} s: {self.log}"
        assert record["message"] != "end" or message == "end", f"it ended without {message!r}: {self.log}"
        return record

    def listening(self) -> Server:
        self.port = self.wait_for("listening")["port"]
        return self

    def ready(self) -> Server:
        self.wait_for("ready")
        return self

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, content, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        return self.request("POST", path, body, headers)

    def exit_status(self) -> int:
        return self.process.wait(timeout=60)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._reader.join(timeout=10)
        assert self.process.stderr is not None
        self.process.stderr.close()


def launch(bundle: Path, name: str, *options: str) -> Server:
    command = [sys.executable, "-m", "keras_server", "--bundle", str(bundle), "--name", name]
    command += ["--host", "127.0.0.1", "--port", "0", "--drain-delay", "0", *options]
    return Server(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))


@pytest.fixture(scope="session")
def launcher() -> Callable[..., Server]:
    """See `launch`."""
    return launch


@pytest.fixture
def start(bundles: dict[str, Path]) -> Iterator[Callable[..., Server]]:
    """Starts a server of its own for a test: `start("classifier", "--max-rows", "2")`."""
    servers: list[Server] = []

    def begin(bundle: str | Path, *options: str) -> Server:
        path = bundles[bundle] if isinstance(bundle, str) else bundle
        servers.append(launch(path, path.name, *options))
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def serving(bundles: dict[str, Path]) -> Iterator[Callable[[str], Server]]:
    """A ready server of a bundle, shared by all tests that only ask it: `serving("classifier")`."""
    servers: dict[str, Server] = {}

    def shared(bundle: str) -> Server:
        if bundle not in servers:
            servers[bundle] = launch(bundles[bundle], bundle)
            servers[bundle].listening().ready()
        return servers[bundle]

    yield shared
    for server in servers.values():
        server.stop()
