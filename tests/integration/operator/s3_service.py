"""An S3 service (versitygw) on loopback, with one model in the bucket `models`."""

from __future__ import annotations

import os
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import build
from cluster.ports import Port
from kube import wait_until

ACCESS_KEY, SECRET_KEY = "root-key", "root-secret"
URI = "s3://models/digits.keras"


@dataclass(frozen=True)
class S3Service:
    endpoint: str
    folder: Path

    def put(self, content: bytes) -> None:
        """Write the model."""
        (self.folder / "models/digits.keras").write_bytes(content)


@contextmanager
def s3_service() -> Iterator[S3Service]:
    program = build.ensure(["versitygw"])["versitygw"]
    port = Port()
    endpoint = f"http://127.0.0.1:{port.number}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").mkdir()
        command = [program, "--port", f"127.0.0.1:{port.number}", "--health", "/health", "posix", folder]
        keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        with subprocess.Popen(command, env=os.environ | keys, stdout=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: _answers(f"{endpoint}/health"), "the S3 service")
                yield S3Service(endpoint, Path(folder))
            finally:
                process.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False
