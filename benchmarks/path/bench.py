"""From a model file to a server that is ready: the cost of each step beside a bare baseline."""

from __future__ import annotations

import hashlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
from path import on_cluster, steady_state
from row import Row

from keras_api.manifest import SourceRecord
from keras_api.prepare_request import PrepareRequest, encode_request
from keras_api.work_folder import WorkFolder

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ROUNDS = 5


def measure() -> list[Row]:
    """Preparation beside the bare conversion, alternating; server startup; apply to Ready if a cluster runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, ROOT / "examples/digits/train.py", folder], check=True, capture_output=True)
        ours, bare = [], []
        for i in range(ROUNDS):
            bare.append(
                timed([sys.executable, HERE / "bare_conversion.py", folder / "digits.keras", folder / f"bare{i}"])
            )
            ours.append(prepare(folder / "digits.keras", folder / f"work{i}"))
        starts, memory = zip(*(start_server(folder / "work0/bundle") for _ in range(ROUNDS)), strict=True)
        missing = on_cluster.missing()
        if missing:
            print(f"the rows from apply to Ready are not measured: {missing}", file=sys.stderr)
        rows_of_cluster: list[Row] = []
        if not missing:
            rows_of_cluster = on_cluster.measure(folder / "digits.keras") + steady_state.measure(
                folder / "digits.keras"
            )
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return [
        *rows_of_cluster,
        Row("prepare of the digits model / bare import, load, convert", statistics.median(ratios), 1.3, "x", ratios),
        Row("bare import, load, convert", statistics.median(bare), None, "s", bare),
        Row("server process of the digits model: start to ready", statistics.median(starts), 1.0, "s", list(starts)),
        Row("server process of the digits model: RSS when ready", statistics.median(memory), 100, "MB", list(memory)),
    ]


def prepare(source: Path, folder: Path) -> float:
    """Duration of the prepare step as a process, in seconds."""
    work = WorkFolder(folder)
    work.source.mkdir(parents=True)
    work.model(".keras").write_bytes(source.read_bytes())
    digest = f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
    record = SourceRecord(
        uri="file:///digits.keras", fingerprint="bench", digest=digest, size_bytes=source.stat().st_size
    )
    request = PrepareRequest(namespace="bench", model="digits", revision="bench", fingerprint="bench", uri=record.uri)
    work.record.write_bytes(msgspec.json.encode(record))
    command = [
        sys.executable,
        "-m",
        "keras_pipeline",
        "prepare",
        "--request",
        encode_request(request),
        "--work",
        str(folder),
    ]
    return timed(command)


def timed(command: list[str | Path]) -> float:
    """Duration of a command in seconds. The command must succeed."""
    start = time.perf_counter()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return time.perf_counter() - start


def start_server(bundle: Path) -> tuple[float, float]:
    """Seconds until the server is ready, and its resident memory at that time in MB."""
    port = 18080
    start = time.perf_counter()
    command = [sys.executable, "-m", "keras_server", "--bundle", str(bundle), "--name", "digits", "--port", str(port)]
    with subprocess.Popen([*command, "--host", "127.0.0.1"], stderr=subprocess.DEVNULL) as process:
        try:
            while not is_ready(port):
                assert process.poll() is None, "the server ended"
                time.sleep(0.005)
            seconds = time.perf_counter() - start
            return seconds, resident_mb(process.pid)
        finally:
            process.terminate()


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024 / 1e6  # type: ignore[index]


def is_ready(port: int) -> bool:
    """Whether the server reports that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
