"""Writes models of Keras 2: `python make_keras_2.py`, in an environment with tf-keras 2.21 and TensorFlow 2.21.

NAME.h5.gz and NAME.keras.gz are a model in both formats, NAME.npz its inputs (x0, ...) and the answers of Keras 2
(y0, ...). Keras 3 does not load the models of REJECTED; tests carry out the remedies on them.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers

HERE = Path(__file__).parent
random = np.random.default_rng(0)


def normal(*shape):
    return random.standard_normal(shape).astype("float32")


def recurrent():
    """Layers with `time_major`, in wrappers and as cells, with the hard sigmoid of Keras 2."""
    x = keras.Input((5, 3), name="x")
    y = layers.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True, name="lstm")(x)
    y = layers.GRU(3, reset_after=False, return_sequences=True, dropout=0.1, name="gru")(y)
    y = layers.Bidirectional(layers.GRU(2, return_sequences=True), merge_mode="sum", name="both")(y)
    y = layers.RNN([layers.LSTMCell(2), layers.GRUCell(2)], return_sequences=True, name="cells")(y)
    y = layers.TimeDistributed(layers.Dense(2, activation="hard_sigmoid"), name="each")(y)
    return keras.Model(x, layers.SimpleRNN(2, name="last")(y)), [4 * normal(3, 5, 3)]


def images():
    """Layers with `groups`, slashes in names, and layers for training."""
    x = keras.Input((8, 10, 3), name="photo")
    y = layers.RandomFlip(name="stem/flip")(x)
    y = layers.RandomCrop(7, 6, name="stem/crop")(y)
    y = layers.Conv2DTranspose(3, 2, strides=2, name="block_1/up")(y)
    y = layers.DepthwiseConv2D(3, padding="same", name="block_1/depthwise")(y)
    y = layers.BatchNormalization(name="block_1/norm")(y)
    y = layers.SpatialDropout2D(0.1, name="block_1/dropout")(y)
    y = layers.SeparableConv2D(2, 3, name="block_1/separable")(y)
    y = layers.ReLU(6.0, name="relu")(y)
    return keras.Model(x, layers.GlobalAveragePooling2D(name="head/pool")(y)), [normal(2, 8, 10, 3)]


def nested():
    """Nested models, one of them called twice, and a model whose layers do not name their inputs."""
    a = keras.Input((4,))
    twice = keras.Model(a, layers.Dense(3, name="dense/twice")(a), name="twice")
    first = keras.Sequential([layers.Dense(4, input_shape=(4,)), layers.BatchNormalization()], name="first")
    x, z = keras.Input((4,), name="x"), keras.Input((4,), name="z")
    both = layers.Concatenate()([twice(first(x)), twice(z)])
    return keras.Model([x, z], [layers.Dense(2, name="answer")(both), first(z)]), [normal(3, 4), normal(3, 4)]


def attention():
    """Tensors in keyword arguments, masks, initial states, and strings that are names of layers."""
    x, z = keras.Input((4,), dtype="int32", name="x"), keras.Input((3, 4), name="z")
    e = layers.Embedding(9, 4, mask_zero=True)(x)
    y, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(layers.Concatenate(axis=1)([e, e]))
    decoded = layers.LSTM(4, return_sequences=True)(z, initial_state=[h, c])
    heads = layers.MultiHeadAttention(2, 3, name="heads")(decoded, y, key=y)
    attended = layers.Attention(score_mode="dot", name="attended")([decoded, heads])
    return keras.Model([x, z], layers.Add(name="sum")([attended, heads])), [
        np.array([[1, 2, 3, 0], [4, 0, 0, 0]], "int32"),
        normal(2, 3, 4),
    ]


def axes():
    """Axes that are lists: Keras 3 drops them from a `.h5` file without an error."""
    x = keras.Input((3, 4), name="x")
    y = layers.LayerNormalization(axis=[1, 2], name="norm")(x)
    y = layers.ThresholdedReLU(0.1)(layers.LeakyReLU(0.2)(y))
    y = layers.UnitNormalization(axis=[1, 2])(y)
    return keras.Model(x, layers.Softmax(axis=[1, 2], name="y")(y)), [normal(2, 3, 4)]


def mixed():
    """A policy of half precision."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return keras.Sequential([layers.Dense(3, "gelu", input_shape=(4,)), layers.Dense(2, name="y")]), [normal(3, 4)]
    finally:
        keras.mixed_precision.set_global_policy("float32")


def text():
    """A vocabulary in the configuration, and one that was adapted. Keras 2 does not write it to a `.h5` file."""
    vector = layers.TextVectorization(output_sequence_length=4, name="words")
    vector.adapt(["the cat sat", "the dog ran home"])
    x = keras.Input((1,), dtype="string", name="x")
    y = layers.GlobalAveragePooling1D()(layers.Embedding(9, 3)(vector(x)))
    known = layers.StringLookup(vocabulary=["the cat", "no"], output_mode="one_hot")(x)
    return keras.Model(x, layers.Concatenate(name="y")([y, known])), [np.array([["the cat"], ["a Dog, ran!"]])]


def operation():
    """Operations on tensors, which are layers in Keras 2 only."""
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Dense(2, name="y")(tf.nn.relu(x * 2.0)[:, 1:])), [normal(3, 4)]


def time_major():
    """The axis of time first."""
    x = keras.Input((5, 3), name="x")
    return keras.Model(x, layers.LSTM(2, time_major=True, return_sequences=True, name="y")(x)), [normal(5, 5, 3)]


def stateful():
    """A state that outlives a request."""
    x = keras.Input(batch_shape=(2, 5, 3), name="x")
    return keras.Model(x, layers.Dense(2, name="y")(layers.LSTM(2, stateful=True, name="lstm")(x))), [normal(2, 5, 3)]


def removed():
    """A layer that Keras 3 does not have."""
    x = keras.Input((5, 3), name="x")
    return keras.Model(x, layers.LocallyConnected1D(2, 3, name="local")(x)), [normal(2, 5, 3)]


LOADED = (recurrent, images, nested, attention, axes, mixed, text)
REJECTED = (operation, time_major, stateful, removed)


def main() -> None:
    for build in (*LOADED, *REJECTED):
        keras.backend.clear_session()
        keras.utils.set_random_seed(1)
        model, inputs = build()
        for weight in model.weights:
            if getattr(weight, "shape", None) is not None and weight.dtype.is_floating:  # biases are zeros otherwise
                weight.assign(random.uniform(0.1, 0.9, weight.shape) * (1 if "variance" in weight.name else 0.7))
        tensors = [tf.constant(array) for array in inputs]
        outputs = tf.nest.flatten(model(tensors[0] if len(tensors) == 1 else tensors, training=False))
        arrays = {f"x{index}": array for index, array in enumerate(inputs)}
        arrays |= {f"y{index}": output.numpy() for index, output in enumerate(outputs)}
        np.savez_compressed(HERE / f"{build.__name__}.npz", **arrays)
        with tempfile.TemporaryDirectory() as folder:
            for suffix in ("keras", "h5"):
                if build is text and suffix == "h5":
                    continue
                file = Path(folder, f"model.{suffix}")
                model.save(file)
                data = gzip.compress(file.read_bytes(), mtime=0)
                (HERE / f"{build.__name__}.{suffix}.gz").write_bytes(data)


if __name__ == "__main__":
    main()
