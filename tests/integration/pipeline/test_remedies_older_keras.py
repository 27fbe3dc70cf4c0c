"""Each remedy for a file of another version of Keras helps: the test does what the message says."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_pipeline.errors import PrepareError
from keras_pipeline.prepare import prepare

sys.path.append(str(Path(__file__).parent))
from remedies import Case, cases, check, dense, edited, older, saved


class StatefulOfKeras2(Case):
    words, answers = ("layer 'lstm'", "stateful=False"), "stateful"

    def wrong(self, folder):
        return older("stateful.h5", folder)

    def remedy(self, folder, wrong):
        x = keras.Input((5, 3), name="x")
        model = keras.Model(x, layers.Dense(2, name="y")(layers.LSTM(2, name="lstm")(x)))
        model.load_weights(wrong)
        return model


class OperationOfKeras2(Case):
    words, answers = ("'tf.math.multiply'", "keras.ops", "model.load_weights"), "operation"

    def wrong(self, folder):
        return older("operation.keras", folder)

    def remedy(self, folder, wrong):
        x = keras.Input((4,), name="x")
        model = keras.Model(x, layers.Dense(2, name="y")(ops.relu(x * 2.0)[:, 1:]))
        model.load_weights(wrong)
        return model


class OperationOfKeras2InLegacyFile(OperationOfKeras2):
    def wrong(self, folder):
        return older("operation.h5", folder)


class TimeFirst(Case):
    words, answers = ("layer 'y'", "time_major=True", "(batch, steps, features)", "model.load_weights"), "time_major"

    def wrong(self, folder):
        return older("time_major.h5", folder)

    def remedy(self, folder, wrong):
        x = keras.Input((5, 3), name="x")
        model = keras.Model(x, layers.LSTM(2, return_sequences=True, name="y")(x))
        model.load_weights(wrong)
        return model

    def ask(self, model, x):
        return np.swapaxes(model(np.swapaxes(x, 0, 1), training=False), 0, 1)


class QuantizedByOlderKeras(Case):
    words = ("Keras 3.12.0 quantised the weights of layer 'hidden'", "call model.quantize", "not quantised")

    def wrong(self, folder):
        return older("int4.keras", folder)

    def remedy(self, folder, wrong):
        path = saved(
            keras.Sequential([keras.Input((8,), name="x"), layers.Dense(4, name="hidden")]), folder / "float.keras"
        )
        model = keras.saving.load_model(path)
        model.layers[0].quantize("int4")
        return model


class NewerKeras(Case):
    words = ("saved by Keras 99.1.0", "new_argument", "model.load_weights", "or upgrade the operator")

    def wrong(self, folder):
        path = saved(dense(), folder / "m.keras")
        return edited(
            path, lambda config: config["config"]["layers"][1]["config"].update(new_argument=1), version="99.1.0"
        )

    def remedy(self, folder, wrong):
        model = dense()
        model.load_weights(wrong)
        return model


@pytest.mark.parametrize("case", cases(globals()), ids=lambda case: case.__name__)
def test_the_remedy_in_the_message_helps(case, prepare_model, tmp_path):
    check(case(), prepare_model, tmp_path)


LOCALLY_CONNECTED = """
import keras

class LocallyConnected1D(keras.layers.Layer):
    def __init__(self, filters, kernel_size, name=None, **_):
        super().__init__(name=name)
        self.filters, self.size = filters, kernel_size[0]

    def build(self, shape):
        steps = shape[1] - self.size + 1
        self.kernel = self.add_weight(shape=(steps, self.size * shape[2], self.filters), name="kernel")
        self.bias = self.add_weight(shape=(steps, self.filters), name="bias")
        self.steps = steps

    def call(self, x):
        parts = [keras.ops.reshape(x[:, i : i + self.size], (-1, self.kernel.shape[1])) for i in range(self.steps)]
        return keras.ops.einsum("bsi,sio->bso", keras.ops.stack(parts, axis=1), self.kernel) + self.bias
"""


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_code_in_a_config_map_replaces_a_class_that_keras_removed(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # as in a new process
    monkeypatch.delitem(sys.modules, "locally_connected", raising=False)
    wrong = older(f"removed.{suffix}", tmp_path)
    with pytest.raises(PrepareError, match=r"'LocallyConnected1D', .* spec.source.customObjects"):
        prepare(wrong, tmp_path / "bundle")
    code = tmp_path / "code"
    code.mkdir()
    (code / "locally_connected.py").write_text(LOCALLY_CONNECTED)
    prepare(wrong, tmp_path / "bundle", custom_objects=code)
    with np.load(tmp_path / "bundle/golden.npz") as golden:
        assert golden["output:local"].shape[1:] == (3, 2)
    sys.modules.pop("locally_connected")
