"""What a hostile file can cost: the real step, in a process of its own, refuses it within seconds and little memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable

import h5py
import pytest

from keras_api.prepare_request import encode_request
from keras_api.reasons import Reason
from keras_api.step_report import decode_report

# TensorFlow alone takes more than twice as much.
MAX_MIB = 250
# A configuration may have 32 MiB, and Python's objects for it take much more; a prepare pod gets 1.5 GiB at least.
MAX_MIB_OF_A_LARGE_CONFIG = 1200
ADDRESS_SPACE = 600 << 20  # Python and its libraries need some 400 MiB of it
MAX_SECONDS = 60  # on a machine that is busy with other things


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
    """A terabyte that was never written."""
    file.create_dataset("layers/dense/vars/0", (1 << 38,), "f4", chunks=(1 << 20,), compression="gzip")


def layer(class_name: str, **config: object) -> bytes:
    inner = {"module": "keras.layers", "class_name": class_name, "config": {"name": "big", **config}}
    return json.dumps({"module": "keras", "class_name": "Sequential", "config": {"layers": [inner]}}).encode()


def deep(levels: int) -> bytes:
    return b'{"class_name": "Sequential", "config": ' + b'{"a": ' * levels + b"1" + b"}" * levels + b"}"


def wide() -> bytes:
    """As many objects as a configuration can hold; numbers between, so that it does not compress too well."""
    numbers = ",".join(f"[{number}]" for number in range(3_000_000))
    return layer("Dense", units=10**9).replace(b'"layers": [', f'"numbers": [{numbers}], "layers": ['.encode())


NO_MODEL = {
    "a bomb for a configuration": (lambda: archive(b" " * (1 << 29)), MAX_MIB),
    "a bomb for weights": (lambda: archive(b"{}", bytes(1 << 29)), MAX_MIB),
    "a bomb of assets": (
        lambda: archive(layer("Dense"), extra=tuple((f"assets/{i}", bytes(1 << 20)) for i in range(2000))),
        MAX_MIB,
    ),
    "a terabyte of weights": (lambda: archive(layer("Dense"), hdf5(sparse)), MAX_MIB),
    "a billion units": (lambda: archive(layer("Dense", units=10**9)), MAX_MIB),
    "a billion rows of a table": (lambda: archive(layer("Embedding", input_dim=10**9, output_dim=10**9)), MAX_MIB),
    "a billion pixels": (lambda: archive(layer("InputLayer", batch_shape=[None, 10**5, 10**5, 1])), MAX_MIB),
    "a number of a million digits": (lambda: archive(b'{"class_name": ' + b"9" * 10**6 + b"}"), MAX_MIB),
    "a hundred thousand levels": (lambda: archive(deep(100_000)), MAX_MIB),
    "millions of objects": (lambda: archive(wide()), MAX_MIB_OF_A_LARGE_CONFIG),
}


# `os.wait4` would count what the test's own process had before it turned into another.
PROGRAM = """
import pathlib, re, sys
from keras_pipeline.__main__ import main
code = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


@pytest.mark.parametrize(("make", "mebibytes"), NO_MODEL.values(), ids=NO_MODEL)
def test_a_hostile_file_is_refused_within_seconds_and_little_memory(make, mebibytes, prepare_model, tmp_path):
    work = prepare_model.source(make())
    arguments = ["prepare", "--request", encode_request(prepare_model.request()), "--work", str(work)]
    environment = {**os.environ, "TERMINATION_MESSAGE_PATH": str(tmp_path / "message")}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=MAX_SECONDS)
    failure = decode_report((tmp_path / "message").read_bytes()).failure
    assert failure.reason in (Reason.MODEL_UNSAFE, Reason.MODEL_UNREADABLE)
    assert done.returncode == 1
    assert int(done.stdout) / 1024 < mebibytes, failure.message


def test_too_little_memory_is_told_and_may_be_tried_again_with_more(prepare_model, tmp_path):
    work = prepare_model.source(archive(wide()))
    arguments = ["prepare", "--request", encode_request(prepare_model.request()), "--work", str(work)]
    environment = {**os.environ, "TERMINATION_MESSAGE_PATH": str(tmp_path / "message")}
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({ADDRESS_SPACE}, {ADDRESS_SPACE}))\n"
    command = [sys.executable, "-c", limit + PROGRAM, *arguments]
    subprocess.run(command, env=environment, capture_output=True, check=False, timeout=MAX_SECONDS)
    failure = decode_report((tmp_path / "message").read_bytes()).failure
    assert failure.reason == Reason.OUT_OF_MEMORY
    assert "cannot get the memory that the model needs" in failure.message
    assert "smaller" in failure.message
