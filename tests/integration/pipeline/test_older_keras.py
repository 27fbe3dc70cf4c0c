"""Files of older versions of Keras: they give the answers of the version that saved them, or are rejected by name.

`older_keras/` contains the files, and the scripts that wrote them.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.src.applications import convnext

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError
from keras_pipeline.inspection import inspect
from keras_pipeline.loading import load_model
from keras_pipeline.model_file import read_model_file

FILES = Path(__file__).parent / "older_keras"


def old_file(name: str, folder: Path) -> Path:
    """An unpacked file: `recurrent.h5`, for example."""
    path = folder / name
    path.write_bytes(gzip.decompress((FILES / f"{name}.gz").read_bytes()))
    return path


def answers(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The inputs of a model, and the outputs of Keras 2 for them."""
    with np.load(FILES / f"{name}.npz") as arrays:
        return [arrays[key] for key in arrays if key[0] == "x"], [arrays[key] for key in arrays if key[0] == "y"]


def load(path: Path):
    """The Keras model in a file, as the prepare step loads it."""
    file = read_model_file(path)
    return load_model(path, file, inspect(file), {}).keras


def ask(model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    tensors = [tf.constant(array) for array in inputs]
    outputs = model(tensors[0] if len(tensors) == 1 else tensors, training=False)
    return [output.numpy() for output in keras.tree.flatten(outputs)]


BOTH_FORMATS = ("recurrent", "images", "nested", "attention", "axes", "mixed")
LOADED = [*(f"{name}.{suffix}" for name in BOTH_FORMATS for suffix in ("keras", "h5")), "text.keras"]


@pytest.mark.parametrize("name", LOADED)
def test_a_model_of_keras_2_answers_as_in_keras_2(name, tmp_path):
    path = old_file(name, tmp_path)
    before = path.read_bytes()
    inputs, expected = answers(path.stem)
    got = ask(load(path), inputs)
    assert [array.shape for array in got] == [array.shape for array in expected]
    tolerance = 1e-3 if path.stem == "mixed" else 1e-5
    for array, want in zip(got, expected, strict=True):
        np.testing.assert_allclose(array, want, rtol=tolerance, atol=tolerance)
    assert path.read_bytes() == before


def test_a_model_of_keras_2_is_served_with_its_answers(prepare_model, tmp_path):
    prepared = prepare_model(old_file("recurrent.h5", tmp_path).read_bytes(), ".h5")
    assert prepared.inputs == [("x", "float32", [-1, 5, 3])]
    assert prepared.manifest.model.keras_version.startswith("2.")
    model = load(tmp_path / "recurrent.h5")
    (golden,) = prepared.golden("output").values()
    np.testing.assert_allclose(golden, ask(model, [*prepared.golden("input").values()])[0], rtol=1e-5, atol=1e-6)


def test_slashes_in_the_names_of_outputs_become_underscores(prepare_model, tmp_path):
    prepared = prepare_model(old_file("images.keras", tmp_path).read_bytes())
    assert prepared.output_names == ["head_pool"]


def test_the_precision_of_a_policy_of_keras_2_is_known(tmp_path):
    assert inspect(read_model_file(old_file("mixed.h5", tmp_path))).half_precision


WITHOUT_MODULES = {
    "axes": lambda x: layers.Softmax(axis=[1, 2])(layers.UnitNormalization(axis=[1, 2])(x)),
    "strings": lambda x: layers.Attention(score_mode="dot")([x, x]),
    "wrappers": lambda x: layers.Bidirectional(layers.LSTM(2))(x),
    "layers of applications": lambda x: convnext.LayerScale(0.5, 4)(x),
}


@pytest.mark.parametrize("add", WITHOUT_MODULES.values(), ids=WITHOUT_MODULES)
def test_a_legacy_file_of_keras_3_answers_as_the_model(add, tmp_path):
    """Keras drops an axis that is a list, without an error, and does not find the layers of applications."""
    x = keras.Input((3, 4))
    model = keras.Model(x, add(x))
    inputs = [np.random.default_rng(0).standard_normal((2, 3, 4)).astype("float32")]
    path = tmp_path / "model.h5"
    model.save(path)
    np.testing.assert_allclose(ask(load(path), inputs)[0], ask(model, inputs)[0], rtol=1e-5, atol=1e-6)


def test_a_legacy_file_does_not_need_more_modules_than_it_has(tmp_path):
    """Before version 2.13, Keras wrote no module for the layers within a wrapper either."""
    path = old_file("recurrent.h5", tmp_path)
    with h5py.File(path, "r+") as file:
        text = str(file.attrs["model_config"])
        file.attrs["model_config"] = text.replace('"module": "keras.layers", ', "").encode()
    inputs, expected = answers("recurrent")
    np.testing.assert_allclose(ask(load(path), inputs)[0], expected[0], rtol=1e-5, atol=1e-5)


REJECTED = {
    "operation": ["layer 'tf.math.multiply'", "Keras 2", "keras.ops", "model.load_weights"],
    "time_major": ["layer 'y'", "time_major=True", "(batch, steps, features)"],
    "stateful": ["layer 'lstm'", "stateful=True", "stateful=False"],
    "removed": ["layer 'local'", "LocallyConnected1D", "saved by Keras 2."],
}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize(("name", "words"), REJECTED.items(), ids=REJECTED)
def test_the_error_names_what_keras_3_does_not_have(name, words, suffix, tmp_path):
    with pytest.raises(PrepareError) as rejection:
        load(old_file(f"{name}.{suffix}", tmp_path))
    assert rejection.value.reason == Reason.MODEL_UNSUPPORTED
    assert [word for word in words if word not in rejection.value.message] == [], rejection.value.message
    assert "find out who" not in rejection.value.message
