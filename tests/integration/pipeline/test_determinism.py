"""Models that draw random numbers in inference are detected, and their layers are named."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_pipeline.determinism import check_deterministic
from keras_pipeline.errors import PrepareError
from keras_pipeline.prepare import prepare

X = {"x": np.ones((2, 4), "float32")}


class Sampling(layers.Layer):
    """Draws from a normal distribution, as in a variational autoencoder."""

    def __init__(self, *, always: bool, **options):
        super().__init__(**options)
        self.always = always
        self.seed_generator = keras.random.SeedGenerator(1)

    def call(self, inputs, training=None):
        mean, log_variance = inputs
        if not (training or self.always):
            return mean
        return mean + ops.exp(log_variance / 2) * keras.random.normal(ops.shape(mean), seed=self.seed_generator)


class Doubled(layers.Layer):
    """Draws nothing."""

    def call(self, x):
        return 2 * x


class Unseeded(layers.Layer):
    """Draws with the global seed."""

    def call(self, x):
        return x + keras.random.normal(ops.shape(x))


def autoencoder(*, always: bool, nested: bool = False) -> keras.Model:
    x = keras.Input((4,), name="x")
    y = layers.GaussianNoise(0.5, name="noise")(layers.Dropout(0.5, name="drop")(Doubled(name="double")(x)))
    mean, log_variance = layers.Dense(2, name="mean")(y), layers.Dense(2, name="log_variance")(y)
    z = Sampling(always=always, name="sample")([mean, log_variance])
    encoder = keras.Model(x, z, name="encoder")
    if nested:
        inputs = keras.Input((4,), name="x")
        return keras.Model(inputs, layers.Dense(4, name="decoded")(encoder(inputs)))
    return encoder


def check(model: keras.Model) -> None:
    check_deterministic(lambda arrays: {"y": np.asarray(model(arrays["x"], training=False))}, X, model)


@pytest.mark.parametrize("nested", [False, True])
def test_a_layer_that_samples_is_named(nested):
    with pytest.raises(PrepareError, match=r"output 'y' differs .* \(random numbers are drawn in layer 'sample'\)"):
        check(autoencoder(always=True, nested=nested))


def test_a_custom_layer_without_a_seed_generator_is_named():
    with pytest.raises(PrepareError, match=r"in layer 'shake'\)"):
        check(keras.Sequential([keras.Input((4,), name="x"), layers.Dense(2), Unseeded(name="shake")]))


def test_a_layer_that_samples_in_training_only_is_accepted():
    check(autoencoder(always=False))


def test_a_model_that_ends_before_the_layer_is_accepted():
    encoder = autoencoder(always=True)
    check(keras.Model(encoder.input, encoder.get_layer("mean").output))


CODE = """
import keras

@keras.saving.register_keras_serializable(package="acme")
class Noisy(keras.layers.Layer):
    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x))
"""


def test_prepare_rejects_a_model_that_answers_at_random(tmp_path):
    namespace = {"__name__": "noisy"}
    exec(CODE, namespace)  # the same class as that of the folder, which the prepare step imports
    x = keras.Input((4,), name="x")
    keras.Model(x, namespace["Noisy"](name="noise")(x)).save(tmp_path / "m.keras")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/noisy.py").write_text(CODE)
    with pytest.raises(PrepareError, match=r"answers at random: output 'noise' differs .*in layer 'noise'"):
        prepare(tmp_path / "m.keras", tmp_path / "bundle", custom_objects=tmp_path / "code")
