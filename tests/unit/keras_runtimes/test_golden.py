"""The golden file: the prepare step writes it, and a server reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_api.manifest import ModelSummary, Parity, Tensor
from keras_runtimes.golden import GoldenError, read_golden, write_golden

INPUTS = {"text": np.array([["grün"], ["日本"]]), "file": np.array([1.5], np.float16), "a/b": np.array([True])}
OUTPUTS = {"text": np.array([[0.1, 0.9]], "float32")}


def model(*inputs: Tensor, outputs: list[Tensor] | None = None) -> ModelSummary:
    return ModelSummary(
        digest="sha256:" + "0" * 64,
        size_bytes=1,
        keras_version="",
        parameters=0,
        inputs=list(inputs),
        outputs=[Tensor(name="text", dtype="float32", shape=[-1, 2])] if outputs is None else outputs,
        runtime="onnxruntime",
        parity=Parity(max_abs_error="0", agreement="1", rows=1),
    )


TEXT = Tensor(name="text", dtype="string", shape=[-1, 1])
FILE = Tensor(name="file", dtype="float16", shape=[-1])
SLASH = Tensor(name="a/b", dtype="bool", shape=[-1])


def test_a_server_reads_the_arrays_that_the_prepare_step_wrote(tmp_path: Path) -> None:
    write_golden(tmp_path, INPUTS, OUTPUTS)

    golden = read_golden(tmp_path, model(TEXT, FILE, SLASH))

    assert golden.inputs["text"].tolist() == [["grün".encode()], ["日本".encode()]]
    assert (golden.inputs["file"].dtype, golden.inputs["file"].tolist()) == (np.float16, [1.5])
    assert (golden.inputs["a/b"].dtype, golden.inputs["a/b"].tolist()) == (np.bool_, [True])
    np.testing.assert_array_equal(golden.outputs["text"], OUTPUTS["text"])


def test_the_file_has_an_array_for_each_tensor_and_no_pickles(tmp_path: Path) -> None:
    write_golden(tmp_path, INPUTS, OUTPUTS)

    with np.load(tmp_path / "golden.npz", allow_pickle=False) as found:
        assert sorted(found) == ["input:a/b", "input:file", "input:text", "output:text"]


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        (model(Tensor(name="lost", dtype="float32", shape=[-1])), "has no array 'input:lost'"),
        (model(FILE, outputs=[FILE]), "has no array 'output:file'"),
        (
            model(Tensor(name="file", dtype="float32", shape=[-1])),
            "input:file is float16; the manifest declares float32",
        ),
    ],
    ids=["no input", "no output", "another type"],
)
def test_an_array_that_does_not_fit_the_manifest_is_named(tmp_path: Path, summary: Any, message: str) -> None:
    write_golden(tmp_path, INPUTS, OUTPUTS)

    with pytest.raises(GoldenError, match=message):
        read_golden(tmp_path, summary)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "golden.npz").write_bytes(b"?")

    with pytest.raises(GoldenError, match=r"cannot read golden\.npz"):
        read_golden(tmp_path, model(FILE))
