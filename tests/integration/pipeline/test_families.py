"""Common families of models: the runtime, the names of inputs and outputs, and the correctness of the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers


def mlp():
    return keras.Sequential(
        [
            keras.Input((12,), name="measurements"),
            layers.Dense(16, activation="relu"),
            layers.Dense(3, activation="softmax", name="species"),
        ]
    )


def cnn():
    return keras.Sequential(
        [
            keras.Input((14, 14, 1), name="image"),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", name="digit"),
        ]
    )


def masked_lstm():
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="tokens"),
            layers.Embedding(50, 8, mask_zero=True),
            layers.LSTM(8),
            layers.Dense(1, activation="sigmoid", name="positive"),
        ]
    )


def transformer():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(50, 16)(tokens)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x))
    x = layers.LayerNormalization()(x + layers.Dense(16)(layers.Dense(32, activation="gelu")(x)))
    return keras.Model(tokens, layers.Dense(4, activation="softmax", name="topic")(layers.GlobalAveragePooling1D()(x)))


def dict_inputs_and_outputs():
    table, picture = keras.Input((6,), name="table"), keras.Input((8, 8, 3), name="picture")
    x = layers.concatenate(
        [layers.Dense(8, activation="relu")(table), layers.GlobalMaxPooling2D()(layers.Conv2D(4, 3)(picture))]
    )
    outputs = {"price": layers.Dense(1, name="a")(x), "kind": layers.Dense(4, activation="softmax", name="b")(x)}
    return keras.Model({"table": table, "picture": picture}, outputs)


def awkward_names():
    """Names that TensorFlow does not keep, not in alphabetical order, and two outputs of one layer."""
    first, second = keras.Input((3,), name="z-score"), keras.Input((3,), name="class")
    shared = layers.Dense(2, name="twin")
    return keras.Model([first, second], [shared(first), shared(second)])


def strings():
    color, grade = keras.Input((1,), dtype="string", name="color"), keras.Input((1,), dtype="int32", name="grade")
    x = layers.concatenate(
        [
            layers.StringLookup(vocabulary=["red", "green", "blue"], output_mode="one_hot")(color),
            layers.CategoryEncoding(5, output_mode="one_hot")(grade),
        ]
    )
    return keras.Model([color, grade], layers.Dense(3, activation="softmax", name="choice")(x))


def integer_lookup():
    code = keras.Input((1,), dtype="int64", name="code")
    x = layers.IntegerLookup(vocabulary=[10, 20, 30], output_mode="one_hot")(code)
    return keras.Model(code, layers.Dense(2, name="score")(x))


def text_vectorization():
    words = [f"word{index}" for index in range(40)]
    vectorize = layers.TextVectorization(max_tokens=50, output_sequence_length=12, vocabulary=words)
    return keras.Sequential(
        [
            keras.Input((1,), dtype="string", name="text"),
            vectorize,
            layers.Embedding(50, 8),
            layers.GlobalAveragePooling1D(),
            layers.Dense(4, activation="softmax", name="topic"),
        ]
    )


def image_preprocessing():
    normalize = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])
    augment = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)], name="augment")
    return keras.Sequential(
        [
            keras.Input((24, 32, 3), name="photo"),
            layers.Resizing(12, 12),
            augment,
            layers.Rescaling(1 / 255),
            normalize,
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax", name="scene"),
        ]
    )


def mixed_float16():
    return keras.Sequential(
        [
            keras.Input((14, 14, 1), name="image"),
            layers.Conv2D(8, 3, activation="relu", dtype="mixed_float16"),
            layers.BatchNormalization(dtype="mixed_float16"),
            layers.Flatten(dtype="mixed_float16"),
            layers.Dense(10, activation="softmax", dtype="float32", name="digit"),
        ]
    )


@dataclass(frozen=True)
class Family:
    """A model, and the expected content of its manifest."""

    build: Callable[[], Any]
    inputs: list[tuple[str, str, list[int]]]
    outputs: list[str]
    runtime: str = "onnxruntime"
    suffix: str = ".keras"
    missing: str = "nothing"  # operation that the faster runtime lacks


TABLE = {
    "mlp": Family(mlp, [("measurements", "float32", [-1, 12])], ["species"]),
    "cnn": Family(cnn, [("image", "float32", [-1, 14, 14, 1])], ["digit"]),
    "legacy h5": Family(cnn, [("image", "float32", [-1, 14, 14, 1])], ["digit"], suffix=".h5"),
    "masked LSTM": Family(masked_lstm, [("tokens", "int32", [-1, -1])], ["positive"]),
    "transformer": Family(transformer, [("tokens", "int32", [-1, -1])], ["topic"]),
    "dicts": Family(
        dict_inputs_and_outputs,
        [("picture", "float32", [-1, 8, 8, 3]), ("table", "float32", [-1, 6])],
        ["kind", "price"],
    ),
    "awkward names": Family(
        awkward_names, [("z-score", "float32", [-1, 3]), ("class", "float32", [-1, 3])], ["output_0", "output_1"]
    ),
    "strings": Family(strings, [("color", "string", [-1, 1]), ("grade", "int32", [-1, 1])], ["choice"]),
    "integer lookup": Family(
        integer_lookup, [("code", "int64", [-1, 1])], ["score"], "tensorflow", missing="lookup tables"
    ),
    "text vectorization": Family(
        text_vectorization,
        [("text", "string", [-1, 1])],
        ["topic"],
        "tensorflow",
        missing="no operation StaticRegexReplace",
    ),
    "image preprocessing": Family(image_preprocessing, [("photo", "float32", [-1, 24, 32, 3])], ["scene"]),
    "mixed float16": Family(mixed_float16, [("image", "float32", [-1, 14, 14, 1])], ["digit"]),
}


@pytest.fixture(params=TABLE, scope="module")
def case(request, prepare_model):
    """A family and its bundle, prepared once for all tests."""
    keras.utils.set_random_seed(1)
    family = TABLE[request.param]
    return family, prepare_model(family.build(), suffix=family.suffix)


def test_the_runtime_is_the_fastest_that_can_run_the_model(case):
    family, prepared = case
    model = prepared.manifest.model
    assert model.runtime == family.runtime
    assert [rejected.runtime for rejected in model.rejected_runtimes] == (
        ["onnxruntime"] if family.runtime == "tensorflow" else []
    )


def test_a_rejected_runtime_has_the_missing_operation_as_its_reason(case):
    family, prepared = case
    reasons = [rejected.reason for rejected in prepared.manifest.model.rejected_runtimes]
    assert all(family.missing in reason for reason in reasons)


def test_inputs_and_outputs_have_the_names_of_the_model(case):
    family, prepared = case
    assert prepared.inputs == family.inputs
    assert prepared.output_names == family.outputs


def test_the_manifest_shows_agreement_with_keras(case):
    family, prepared = case
    parity = prepared.manifest.model.parity
    assert float(parity.max_abs_error) < (1e-3 if family.build is mixed_float16 else 1e-5)
    assert float(parity.agreement) == 1
    assert parity.rows >= 32  # and a row at each end of the accepted sizes


def test_the_bundle_reproduces_its_golden_rows_without_keras(case):
    _, prepared = case
    inputs, expected = prepared.golden("input"), prepared.golden("output")
    actual = serve(prepared, inputs)
    assert list(actual) == prepared.output_names
    for tensor in prepared.manifest.model.outputs:
        assert len(expected[tensor.name]) == 8
        assert actual[tensor.name].dtype == tensor.dtype
        np.testing.assert_allclose(actual[tensor.name], expected[tensor.name], rtol=1e-2, atol=1e-3)


def test_the_bundle_accepts_any_number_of_rows(case):
    _, prepared = case
    for rows in (1, 3):
        inputs = {name: array[:rows] for name, array in prepared.golden("input").items()}
        assert {len(array) for array in serve(prepared, inputs).values()} == {rows}


def test_the_manifest_lists_every_file_with_its_digest(case):
    _, prepared = case
    found = {
        path.relative_to(prepared.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in prepared.folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert {record.path: record.sha256 for record in prepared.manifest.files} == found


def serve(prepared, inputs):
    """Run a bundle as a server does: from its manifest, without Keras."""
    manifest = prepared.manifest
    entry = str(prepared.folder / manifest.entry)
    names = [tensor.name for tensor in manifest.model.outputs]
    bound = {manifest.input_bindings.get(name, name): array for name, array in inputs.items()}
    if manifest.model.runtime == "onnxruntime":
        session = onnxruntime.InferenceSession(entry, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, bound), strict=True))
    loaded = tf.saved_model.load(entry)
    answers = loaded.signatures["serve"](**{name: tf.constant(array) for name, array in bound.items()})
    return {name: answers[manifest.output_bindings.get(name, name)].numpy() for name in names}
