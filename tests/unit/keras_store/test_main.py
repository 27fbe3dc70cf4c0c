"""The command line: exit codes and termination messages."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest

from keras_api.prepare_request import PrepareRequest, encode_request
from keras_api.reasons import Reason
from keras_api.step_report import decode_report
from keras_store.__main__ import main

MakeBundle = Callable[..., Path]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of the termination message."""
    path = tmp_path / "termination-log"
    monkeypatch.setenv("TERMINATION_MESSAGE_PATH", str(path))
    return path


def request(uri: str = "file:///nowhere/m.keras", found: str = "etag") -> str:
    return encode_request(PrepareRequest(namespace="ns", model="m", revision="rev", fingerprint=found, uri=uri))


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A request for a model file on this disk."""
    file = tmp_path / "m.keras"
    file.write_bytes(b"model")
    os.utime(file, (0, 0))
    return request(f"file://{file}", "size=5,modified=1970-01-01T00:00:00+00:00")


def fetching(of: str, work: Path = Path("/w")) -> list[str]:
    return ["fetch", "--request", of, "--work", str(work), "--max-bytes", "1Gi"]


def test_fetch_put_and_get_work_together(report: Path, make_bundle: MakeBundle, tmp_path: Path, model: str):
    store, work = f"file://{tmp_path}/store", str(tmp_path / "work")
    assert main(["fetch", "--request", model, "--store", store, "--work", work, "--max-bytes", "1k"]) == 0
    # The memory of the prepare step depends on the size of the model.
    said = decode_report(report.read_bytes())
    assert (said.step, said.revision, said.fetched_bytes) == ("fetch", "rev", len(b"model"))
    report.unlink()
    make_bundle({"model.onnx": b"onnx"}, folder="work/bundle")
    assert main(["put", "--request", model, "--store", store, "--work", work]) == 0
    assert main(["get", "--store", store, "--path", "ns/m/rev", "--into", str(tmp_path / "back")]) == 0
    assert (tmp_path / "back/model.onnx").read_bytes() == b"onnx"
    assert not report.exists()


def test_put_does_nothing_when_fetch_found_the_bundle(report: Path, tmp_path: Path):
    assert main(["put", "--request", request(), "--store", "http://no-store.invalid", "--work", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("arguments", "reason", "says"),
    [
        (fetching(request()), Reason.SOURCE_NOT_FOUND, "file:///nowhere/m.keras"),
        (fetching(request("x")), Reason.SPEC_INVALID, "x is not a valid source address"),
        (["get", "--path", "ns/m/rev", "--into", "/w"], Reason.BUNDLE_INVALID, "ns/m/rev/manifest.json"),
    ],
)
def test_a_failure_is_the_termination_message(
    report: Path, tmp_path: Path, arguments: list[str], reason: Reason, says: str
):
    assert main([*arguments, "--store", f"file://{tmp_path}/store"]) == 1
    said = decode_report(report.read_bytes())
    assert (said.step, said.revision) == (arguments[0], "rev")
    assert said.failure is not None
    assert said.failure.reason is reason
    assert says in said.failure.message


def test_a_request_of_another_release_is_reported(report: Path, tmp_path: Path):
    assert main([*fetching("{}"), "--store", "file:///s"]) == 1
    said = decode_report(report.read_bytes())
    assert said.failure is not None
    assert "of the same release" in said.failure.message


def test_a_full_volume_is_reported_as_one(
    report: Path, tmp_path: Path, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
):
    make_bundle({"model.onnx": b"onnx"}, folder="store/ns/m/rev")
    monkeypatch.setattr("keras_store.atomic_file._create", lambda _: FileIO("/dev/full", "w"))
    assert (
        main(["get", "--path", "ns/m/rev", "--into", str(tmp_path / "b"), "--store", f"file://{tmp_path}/store"]) == 1
    )
    said = decode_report(report.read_bytes())
    assert said.failure is not None
    assert said.failure.reason is Reason.VOLUME_UNAVAILABLE
    assert f"no space is left in {tmp_path / 'b'}" in said.failure.message
    assert "free space on the pod's node" in said.failure.message


def test_an_unexpected_error_is_reported(report: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    arguments = fetching(request(f"file://{tmp_path}/file"), work=tmp_path / "file")
    assert main([*arguments, "--store", "file:///s"]) == 1
    said = decode_report(report.read_bytes())
    assert said.failure is not None
    assert said.failure.reason is Reason.PREPARE_FAILED


def test_outside_of_a_pod_no_termination_message_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    absent = tmp_path / "termination-log"
    monkeypatch.delenv("TERMINATION_MESSAGE_PATH", raising=False)
    monkeypatch.setattr("keras_api.termination.PATH", str(absent))
    assert main(["get", "--path", "ns/m/rev", "--into", str(tmp_path / "b"), "--store", f"file://{tmp_path}"]) == 1
    assert not absent.exists()


@pytest.mark.parametrize(("text", "code"), [("4", 1), ("5", 0), ("5k", 0)])
def test_the_size_limit_is_a_quantity(report: Path, tmp_path: Path, model: str, text: str, code: int):
    arguments = ["--request", model, "--work", str(tmp_path / "w")]
    assert main(["fetch", *arguments, "--store", f"file://{tmp_path}", "--max-bytes", text]) == code


def test_a_store_outside_of_a_pod_needs_options_for_authentication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main(["serve", "--root", str(tmp_path)]) == 1
    assert "--insecure-no-auth" in caplog.text


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_store_that_stops_completes_uploads(tmp_path: Path, port: int):
    command = [sys.executable, "-m", "keras_store", "serve", f"--root={tmp_path}", "--host=127.0.0.1"]
    with subprocess.Popen([*command, f"--port={port}", "--insecure-no-auth"], stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1):
                break
        with socket.create_connection(("127.0.0.1", port), timeout=10) as upload:
            upload.sendall(b"PUT /ns/m/rev/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
            assert b"100 Continue" in upload.recv(100)
            process.send_signal(signal.SIGTERM)
            upload.sendall(b"data")
            assert b"201 Created" in upload.recv(1000)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert (tmp_path / "ns/m/rev/x").read_bytes() == b"data"


def test_files_have_ordinary_permissions(tmp_path: Path, make_bundle: MakeBundle):
    """The serving container may run as another user than `get`."""
    make_bundle({"model.onnx": b"onnx"}, folder="store/ns/m/rev")
    main(["get", "--path", "ns/m/rev", "--into", str(tmp_path / "b"), "--store", f"file://{tmp_path}/store"])
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "b/model.onnx").stat().st_mode) == 0o666 & ~umask


def test_a_reader_that_is_not_a_service_account_is_rejected(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert main(["serve", "--insecure-no-auth", "--root", str(tmp_path), "--reader", "operator"]) == 1
    assert "operator is not a ServiceAccount (system:serviceaccount:<namespace>:<name>)" in caplog.text


def test_a_step_does_not_load_the_web_server():
    """It would double the start time of every step."""
    code = "import sys, keras_store.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "keras_store.bundles.open" in loaded
    assert not {"aiohttp.web", "prometheus_client", "keras_store.server"} & set(loaded)
