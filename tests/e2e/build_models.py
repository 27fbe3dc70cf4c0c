"""Further models for the e2e tests: the digits model as another file, a model that only TensorFlow runs, one with a
custom layer, and one that must be rejected."""

import os
import sys
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0")

import keras
from keras import layers
from own_layers import Doubled

folder = Path(sys.argv[1])
keras.utils.set_random_seed(0)

words = layers.TextVectorization(max_tokens=20, output_sequence_length=4)
words.adapt(["good film", "bad film", "good bad ugly"])
keras.Sequential(
    [
        keras.Input((1,), dtype="string", name="review"),
        words,
        layers.Embedding(20, 4),
        layers.GlobalAveragePooling1D(),
        layers.Dense(1, activation="sigmoid", name="score"),
    ]
).save(folder / "text.keras")

keras.Sequential([keras.Input((4,), name="x"), Doubled(name="twice")]).save(folder / "own.keras")

keras.Sequential(
    [
        keras.Input((8, 8, 1), name="pixels"),
        layers.Lambda(lambda x: x * 2, name="twice"),
        layers.Flatten(),
        layers.Dense(10),
    ]
).save(folder / "lambda.keras")

keras.saving.load_model(folder / "digits.keras").save(folder / "digits-again.keras")
