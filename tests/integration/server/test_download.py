"""The server gets its bundle from a store before it loads it: live meanwhile, and honest when it cannot be had."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keras_api.reasons import Reason
from keras_api.step_report import StepReport, decode_report
from keras_server.download import download
from keras_store.bundles.open import bundle_store

Start = Callable[..., Any]
REVISION = "00000000ff"
PATH = f"team-a/classifier/{REVISION}"
INFER = "/v2/models/classifier/infer"
REQUEST = {"inputs": [{"name": "pixels", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], StepReport]:
    """What the server left in its termination message."""
    monkeypatch.setenv("TERMINATION_MESSAGE_PATH", str(tmp_path / "termination-log"))
    return lambda: decode_report((tmp_path / "termination-log").read_bytes())


@pytest.fixture
def folder_store(bundles: dict[str, Path], tmp_path: Path) -> str:
    """A store of one bundle, in a folder."""
    url = f"file://{tmp_path}/store"
    (tmp_path / "store").mkdir()
    asyncio.run(put(url, bundles["classifier"]))
    return url


@pytest.fixture
def embedded_store(bundles: dict[str, Path], tmp_path: Path) -> Iterator[str]:
    """A store of one bundle, over http."""
    with embedded(tmp_path / "data") as url:
        asyncio.run(put(url, bundles["classifier"]))
        yield url


@pytest.fixture
def silent_store() -> Iterator[str]:
    """A store that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def put(url: str, bundle: Path) -> None:
    async with bundle_store(url, {}) as store:
        assert await store.put(PATH, bundle)


@contextmanager
def embedded(data: Path) -> Iterator[str]:
    options = ["--root", data, "--host", "127.0.0.1", "--port", "0", "--insecure-no-auth"]
    with subprocess.Popen([sys.executable, "-m", "keras_store", "serve", *options], stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            said = next(line for line in process.stderr if b"Running on" in line).decode()
            url = said.partition("Running on ")[2].split()[0]
            with urllib.request.urlopen(f"{url}/healthz", timeout=30) as answer:
                assert answer.status == 200
            yield url
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["folder_store", "embedded_store"])
def test_it_serves_what_it_got_from_the_store(
    start: Start, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(kind)

    server = start(tmp_path / "classifier", "--store", url, "--path", PATH).listening().ready()

    assert server.post(INFER, REQUEST).status == 200
    assert server.get("/v2/models/classifier").json["versions"] == [REVISION]
    assert f'revision="{REVISION}"' in server.get("/metrics").body.decode()


def test_it_is_live_and_says_what_it_does_while_it_gets_its_bundle(
    start: Start, tmp_path: Path, silent_store: str
) -> None:
    server = start(tmp_path / "classifier", "--store", silent_store, "--path", PATH).listening()
    server.wait_for("downloading the bundle")

    assert server.get("/v2/health/live").status == 200
    ready = server.get("/v2/health/ready")
    assert (ready.status, ready.json) == (503, {"error": "loading: the bundle is being downloaded"})
    for path in ("/v2/models/classifier", "/v2/models/classifier/ready", "/v1/models/classifier"):
        assert (server.get(path).status, server.get(path).json) == (503, ready.json)
    assert server.post(INFER, REQUEST).status == 503
    assert server.get("/").json["revision"] is None
    assert "keras_server_ready 0.0" in server.get("/metrics").body.decode()


def test_sigterm_while_it_gets_its_bundle_ends_the_process(start: Start, tmp_path: Path, silent_store: str) -> None:
    server = start(tmp_path / "classifier", "--store", silent_store, "--path", PATH).listening()
    server.wait_for("downloading the bundle")

    server.process.send_signal(signal.SIGTERM)

    assert server.exit_status() == 0  # long before the store's silence is over


def damage(store: Path) -> None:
    file = store / PATH / "model.onnx"
    file.write_bytes(b"?" * file.stat().st_size)


@pytest.mark.parametrize(
    ("break_it", "reason", "words"),
    [
        (damage, Reason.BUNDLE_INVALID, "model.onnx is not the file in the bundle's manifest"),
        (lambda store: (store / PATH / "model.onnx").unlink(), Reason.BUNDLE_INVALID, "incomplete or was deleted"),
        (lambda store: shutil.rmtree(store / "team-a"), Reason.BUNDLE_INVALID, "incomplete or was deleted"),
        (lambda store: (store / PATH / "manifest.json").write_text("{}"), Reason.BUNDLE_INVALID, "manifest.json"),
    ],
    ids=["damaged", "a file lost", "lost", "bad manifest"],
)
def test_a_bundle_that_cannot_be_got_ends_the_process_with_a_report(
    start: Start,
    tmp_path: Path,
    folder_store: str,
    report: Callable[[], StepReport],
    break_it: Callable[[Path], Any],
    reason: Reason,
    words: str,
) -> None:
    break_it(Path(folder_store.removeprefix("file://")))

    server = start(tmp_path / "classifier", "--store", folder_store, "--path", PATH)

    assert server.exit_status() == 1
    server.wait_for("end")
    assert (server.log[-2]["level"], "traceback" in server.log[-2]) == ("error", False)
    left = report()
    assert left.failure is not None
    assert (left.step, left.revision, left.failure.reason) == ("get", REVISION, reason)
    assert words in left.failure.message


def test_a_store_that_is_down_is_asked_a_few_times(
    start: Start, tmp_path: Path, report: Callable[[], StepReport]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"

        server = start(tmp_path / "classifier", "--store", url, "--path", PATH)

        assert server.exit_status() == 1
    server.wait_for("end")
    assert len([record for record in server.log if "again in" in record["message"]]) == 4
    left = report()
    assert left.failure is not None
    assert left.failure.reason is Reason.STORE_UNAVAILABLE


def test_a_server_that_starts_anew_needs_no_store(start: Start, tmp_path: Path, folder_store: str) -> None:
    origin = ("--store", folder_store, "--path", PATH)
    first = start(tmp_path / "classifier", *origin).listening().ready()
    first.process.kill()
    first.exit_status()
    shutil.rmtree(folder_store.removeprefix("file://"))

    again = start(tmp_path / "classifier", *origin).listening().ready()

    assert again.post(INFER, REQUEST).status == 200


def test_what_was_changed_in_the_folder_is_got_anew(start: Start, tmp_path: Path, folder_store: str) -> None:
    origin = ("--store", folder_store, "--path", PATH)
    first = start(tmp_path / "classifier", *origin).listening().ready()
    first.process.kill()
    first.exit_status()
    model = tmp_path / "classifier/model.onnx"
    model.write_bytes(b"?" * model.stat().st_size)

    again = start(tmp_path / "classifier", *origin).listening().ready()

    assert again.wait_for("downloaded")["bytes"] > 0
    assert again.post(INFER, REQUEST).status == 200


def test_a_stores_credentials_do_not_stay_in_the_environment(
    tmp_path: Path, folder_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_AWS_SECRET_ACCESS_KEY", "s3cret")
    asyncio.run(download(folder_store, PATH, tmp_path / "classifier"))
    assert not [name for name in os.environ if name.startswith("STORE_")]
