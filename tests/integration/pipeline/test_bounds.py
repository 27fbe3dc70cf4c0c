"""Cost of malicious files: the step, in a process of its own, rejects them in seconds and with little memory."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable

import h5py
import pytest

from keras_api.prepare_request import encode_request
from keras_api.reasons import Reason
from keras_api.step_report import decode_report

# TensorFlow alone needs more than twice as much.
MAX_MIB = 250
# A configuration may have 32 MiB, and its Python objects are much larger. A prepare pod has at least 1.5 GiB.
MAX_MIB_OF_A_LARGE_CONFIG = 1200
ADDRESS_SPACE = 600 << 20  # Python and its libraries need about 400 MiB of it
MAX_CPU_SECONDS = 30  # measured: 8
TIMEOUT_SECONDS = 240  # on a machine that does other work, too


def archive(config: bytes, weights: bytes | None = None, extra: tuple[tuple[str, bytes], ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", config)
        file.writestr("model.weights.h5", hdf5() if weights is None else weights)
        for name, content in extra:
            file.writestr(name, content)
    return buffer.getvalue()


def hdf5(write: Callable[[h5py.File], object] = lambda file: file.create_group("layers")) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return buffer.getvalue()


def sparse(file: h5py.File) -> None:
    """A dataset of a terabyte without content."""
    file.create_dataset("layers/dense/vars/0", (1 << 38,), "f4", chunks=(1 << 20,), compression="gzip")


def layer(class_name: str, **config: object) -> bytes:
    inner = {"module": "keras.layers", "class_name": class_name, "config": {"name": "big", **config}}
    return json.dumps({"module": "keras", "class_name": "Sequential", "config": {"layers": [inner]}}).encode()


def deep(levels: int) -> bytes:
    return b'{"class_name": "Sequential", "config": ' + b'{"a": ' * levels + b"1" + b"}" * levels + b"}"


def wide() -> bytes:
    """As many objects as fit into a configuration, with numbers between them against compression."""
    numbers = ",".join(f"[{number}]" for number in range(3_000_000))
    return layer("Dense", units=10**9).replace(b'"layers": [', f'"numbers": [{numbers}], "layers": ['.encode())


MALICIOUS = {
    "a zip bomb as the configuration": (lambda: archive(b" " * (1 << 29)), MAX_MIB),
    "a zip bomb as the weights": (lambda: archive(b"{}", bytes(1 << 29)), MAX_MIB),
    "a zip bomb of assets": (
        lambda: archive(layer("Dense"), extra=tuple((f"assets/{i}", bytes(1 << 20)) for i in range(2000))),
        MAX_MIB,
    ),
    "a terabyte of weights": (lambda: archive(layer("Dense"), hdf5(sparse)), MAX_MIB),
    "a billion units": (lambda: archive(layer("Dense", units=10**9)), MAX_MIB),
    "a billion rows of an embedding": (lambda: archive(layer("Embedding", input_dim=10**9, output_dim=10**9)), MAX_MIB),
    "a billion pixels": (lambda: archive(layer("InputLayer", batch_shape=[None, 10**5, 10**5, 1])), MAX_MIB),
    "a number of a million digits": (lambda: archive(b'{"class_name": ' + b"9" * 10**6 + b"}"), MAX_MIB),
    "a hundred thousand levels": (lambda: archive(deep(100_000)), MAX_MIB),
    "millions of objects": (lambda: archive(wide()), MAX_MIB_OF_A_LARGE_CONFIG),
}


# `os.wait4` would include the memory of the test's process before exec.
PROGRAM = """
import pathlib, re, sys
from keras_pipeline.__main__ import main
code = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


def children_cpu_seconds() -> float:
    """CPU time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(("make", "mebibytes"), MALICIOUS.values(), ids=MALICIOUS)
def test_a_malicious_file_is_rejected_in_seconds_and_with_little_memory(make, mebibytes, prepare_model, tmp_path):
    work = prepare_model.source(make())
    arguments = ["prepare", "--request", encode_request(prepare_model.request()), "--work", str(work.path)]
    environment = {**os.environ, "TERMINATION_MESSAGE_PATH": str(tmp_path / "message")}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    before = children_cpu_seconds()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    failure = decode_report((tmp_path / "message").read_bytes()).failure
    assert failure.reason in (Reason.MODEL_UNSAFE, Reason.MODEL_UNREADABLE)
    assert done.returncode == 1
    assert int(done.stdout) / 1024 < mebibytes, failure.message
    assert children_cpu_seconds() - before < MAX_CPU_SECONDS, failure.message


def test_too_little_memory_is_reported_as_out_of_memory(prepare_model, tmp_path):
    work = prepare_model.source(archive(wide()))
    arguments = ["prepare", "--request", encode_request(prepare_model.request()), "--work", str(work.path)]
    environment = {**os.environ, "TERMINATION_MESSAGE_PATH": str(tmp_path / "message")}
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({ADDRESS_SPACE}, {ADDRESS_SPACE}))\n"
    command = [sys.executable, "-c", limit + PROGRAM, *arguments]
    subprocess.run(command, env=environment, capture_output=True, check=False, timeout=TIMEOUT_SECONDS)
    failure = decode_report((tmp_path / "message").read_bytes()).failure
    assert failure.reason == Reason.OUT_OF_MEMORY
    assert "cannot allocate the memory that the model needs" in failure.message
    assert "smaller" in failure.message
