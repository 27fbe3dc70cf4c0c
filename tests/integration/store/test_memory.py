"""Large files: the steps and the store have only a small part of a file in memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from store_bundles import write_manifest

from keras_api.prepare_request import PrepareRequest, encode_request

SIZE = int(os.environ.get("KERAS_TEST_LARGE_BYTES", 256 << 20))
LIMIT_MIB = 150


def peak_mib_of_step(*arguments: str) -> float:
    """Run a step to its end; its peak memory."""
    # A child inherits the peak of its parent, so a small process starts the step and not the test's.
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", program, sys.executable, "-m", "keras_store", *arguments]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120).stdout) / 1024


def peak_mib_of_server(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


@pytest.fixture
def sparse(tmp_path: Path) -> Callable[[str], Path]:
    """Make a file of the test's size, which needs no disk space before it is copied."""

    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(SIZE)
        return path

    return make


def test_a_large_model_is_fetched_put_and_got_with_little_memory(
    run_store: Callable, sparse: Callable[[str], Path], tmp_path: Path
):
    store = run_store(tmp_path, "--insecure-no-auth")
    # The store is also the source: a plain web server with a large file.
    sparse("data/sources/m/rev/large.keras")
    sparse("work/bundle/model.onnx")
    write_manifest(tmp_path / "work/bundle")
    uri = f"{store.url}/sources/m/rev/large.keras"
    digest = msgspec.json.decode((tmp_path / "work/bundle/manifest.json").read_bytes())["files"][0]["sha256"]
    request = PrepareRequest(
        namespace="ns", model="m", revision="rev", fingerprint="", uri=uri, digest=f"sha256:{digest}"
    )
    common = ["--request", encode_request(request), "--store", store.url, "--work", str(tmp_path / "work")]
    fetched = peak_mib_of_step("fetch", *common, "--max-bytes", str(SIZE))
    (tmp_path / "work/source/model.keras").unlink()
    put = peak_mib_of_step("put", *common)
    got = peak_mib_of_step("get", "--store", store.url, "--path", "ns/m/rev", "--into", str(tmp_path / "back"))
    served = peak_mib_of_server(store.pid)
    print(f"peak MiB for {SIZE >> 20} MiB: fetch {fetched:.0f}, put {put:.0f}, get {got:.0f}, store {served:.0f}")
    assert max(fetched, put, got, served) < LIMIT_MIB
