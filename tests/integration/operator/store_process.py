"""The embedded store as a separate process, and the programs that pods run against it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from cluster.ports import Port
from kube import Object, wait_until
from kubelet import summary
from operator_process import ROOT

from keras_api.manifest import FileRecord, Manifest, SourceRecord, encode_manifest
from keras_api.prepare_request import bundle_path
from keras_api.step_report import StepReport, decode_report

# Runs a module with an idle timeout of 0.5 s for the store, instead of 25 s.
_SHORT_TIMEOUT = """
import runpy, sys
import keras_store.bundles.open
from keras_store.storage.base import Timeouts
keras_store.bundles.open.STORE_TIMEOUTS = Timeouts(idle=0.5)
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


class Store:
    """The embedded store as a process, without tokens."""

    def __init__(self, folder: Path) -> None:
        self._port = Port()
        self.url = f"http://127.0.0.1:{self._port.number}"
        self.data = folder / "data"
        self._folder = folder
        self._command = [
            *(sys.executable, "-m", "keras_store", "serve", "--insecure-no-auth"),
            *("--root", str(self.data), "--host", "127.0.0.1", "--port", str(self._port.number)),
        ]

    def __enter__(self) -> Store:
        with (self._folder / "store.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env={"PYTHONPATH": str(ROOT / "operator")}, stdout=log, stderr=log
            )
        wait_until(self._answers, "the store to answer")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def put(self, namespace: str, revision: str) -> Manifest:
        """Store a bundle without files, as the container `put` does."""
        manifest = manifest_of(revision, {})
        url = f"{self.url}/{bundle_path(namespace, 'digits', revision)}/manifest.json"
        request = urllib.request.Request(url, encode_manifest(manifest), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 201
        return manifest

    def file_requests(self) -> float:
        """Number of successful requests for a file."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(
            float(line.split()[-1])
            for line in lines
            if line.startswith('keras_store_requests_total{code="200",method="GET"}')
        )

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                return True
        except OSError:
            return False


def manifest_of(revision: str, files: dict[str, bytes]) -> Manifest:
    """The manifest of a bundle with these files."""
    model = summary(stored="1")
    return Manifest(
        revision=revision,
        source=SourceRecord(uri="http://m/m.keras", fingerprint="f", digest=model.digest, size_bytes=1),
        model=model,
        entry="model.onnx",
        versions={},
        files=[
            FileRecord(path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
            for path, content in files.items()
        ],
    )


def make_bundle(folder: Path, revision: str, files: dict[str, bytes]) -> None:
    """Write a bundle, as the container `prepare` does."""
    folder.mkdir()
    for path, content in files.items():
        (folder / path).write_bytes(content)
    (folder / "manifest.json").write_bytes(encode_manifest(manifest_of(revision, files)))


def run(container: Object, folder: Path, **replaced: str) -> tuple[int, StepReport | None]:
    """Run a container's program on this machine.

    Args:
        container: the container in the pod's spec.
        folder: a folder for the termination message.
        replaced: options with another value than in the pod, such as `work`.

    Returns:
        Its exit code and its report.
    """
    arguments = [word.replace("$$", "$") for word in container["command"]]
    assert arguments[:2] == ["python", "-m"]
    for name, value in replaced.items():
        arguments[arguments.index(f"--{name}") + 1] = value
    report = folder / f"{container['name']}-report"
    report.unlink(missing_ok=True)
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "TERMINATION_MESSAGE_PATH": str(report)}
    done = subprocess.run(
        [sys.executable, "-c", _SHORT_TIMEOUT, *arguments[2:]],
        env=environ,
        check=False,
        capture_output=True,
        timeout=60,
    )
    print(done.stderr.decode())
    return done.returncode, decode_report(report.read_bytes()) if report.exists() else None
