"""Parity is checked on the runtime class that serves, and on more than a server checks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

sys.path.append(str(Path(__file__).parents[1]))

from onnx_bundles import onnx_model, value

import keras_runtimes.onnxruntime
import keras_runtimes.tensorflow
from keras_api.manifest import Tensor
from keras_pipeline.errors import ConversionError
from keras_pipeline.runtimes import open_runtime
from keras_runtimes.base import ConvertedModel
from keras_runtimes.registry import RUNTIMES

X, Y = Tensor(name="x", dtype="float32", shape=[-1, 2]), Tensor(name="y", dtype="float32", shape=[-1, 2])


def identity(path: Path, dtype: str, *shape: int | str) -> ConvertedModel:
    """An ONNX file whose output is its input, of another type or shape than the model's where those are given."""
    node = helper.make_node("Identity", ["x"], ["y"])
    proto = onnx_model([node], [value("x", dtype, *shape)], [value("y", dtype, *shape)])
    path.write_bytes(proto.SerializeToString())
    return ConvertedModel(path, [X], [Y])


@pytest.mark.parametrize(
    ("runtime", "serving"),
    [
        ("onnxruntime", keras_runtimes.onnxruntime.OnnxRuntime),
        ("tensorflow", keras_runtimes.tensorflow.TensorFlowRuntime),
    ],
)
def test_parity_is_checked_on_the_class_that_serves(
    monkeypatch: pytest.MonkeyPatch, prepare_model: Any, runtime: str, serving: Any
) -> None:
    import keras  # only after the environment is set

    rows: list[int] = []
    run = serving.run

    def count(self: Any, inputs: dict[str, Any]) -> Any:
        rows.append(len(inputs["x"]))
        return run(self, inputs)

    monkeypatch.setattr(serving, "run", count)
    model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(2, name="y")])

    prepared = prepare_model(model, runtime=runtime)

    assert prepared.manifest.model.runtime == runtime
    assert rows[:3] == [1, 7, 24]
    assert sum(rows[:3]) == prepared.manifest.model.parity.rows


def test_a_converted_model_of_another_type_is_rejected(tmp_path: Path) -> None:
    model = identity(tmp_path / "model.onnx", "float64", "n", 2)

    with pytest.raises(ConversionError, match=r"inputs are \{'x': 'float64'\}, not \{'x': 'float32'\}"):
        open_runtime(RUNTIMES["onnxruntime"], model)


def test_a_converted_model_of_a_fixed_number_of_rows_is_rejected(tmp_path: Path) -> None:
    model = identity(tmp_path / "model.onnx", "float32", 3, 2)

    with pytest.raises(ConversionError, match="input 'x' takes 3 rows only"):
        open_runtime(RUNTIMES["onnxruntime"], model)


def test_an_operation_without_a_counterpart_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Cholesky", ["x"], ["y"])
    proto = onnx_model([node], [value("x", "float32", "n", 2)], [value("y", "float32", "n", 2)])
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())

    with pytest.raises(ConversionError, match="it has no operation Cholesky"):
        open_runtime(RUNTIMES["onnxruntime"], ConvertedModel(tmp_path / "model.onnx", [X], [Y]))


def test_an_error_of_the_runtime_is_a_conversion_error(tmp_path: Path) -> None:
    runtime = open_runtime(RUNTIMES["onnxruntime"], identity(tmp_path / "model.onnx", "float32", "n", 2))

    with pytest.raises(ConversionError, match="the model rejects the input"):
        runtime.run({"x": np.zeros((1, 3), np.float32)})


def test_strings_are_text_to_the_checks_and_bytes_to_the_runtime(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    proto = onnx_model([node], [value("x", "string", "n")], [value("y", "string", "n")])
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    x, y = (Tensor(name=name, dtype="string", shape=[-1]) for name in "xy")
    runtime = open_runtime(RUNTIMES["onnxruntime"], ConvertedModel(tmp_path / "model.onnx", [x], [y]))

    answer = runtime.run({"x": np.array(["grün", "日本"])})["y"]

    assert (answer.dtype.kind, answer.tolist()) == ("U", ["grün", "日本"])
