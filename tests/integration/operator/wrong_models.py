"""Model files that cannot be served: files that Keras wrote, then damaged, misnamed or made malicious.

The code in a malicious file creates the canary, a file that nothing else creates.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers

DEFLATED = zipfile.ZIP_DEFLATED
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def saved(model: Any, suffix: str = ".keras") -> bytes:
    """The file that Keras writes for a model."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns about these models
        path = Path(folder, f"model{suffix}")
        model.save(path)
        return path.read_bytes()


@keras.saving.register_keras_serializable(package="acme")
class Doubled(layers.Layer):
    """A custom layer."""

    def call(self, x: Any) -> Any:
        return 2 * x


def dense(units: int = 2, **options: Any) -> Any:
    """A model with four input values and `units` output values."""
    return keras.Sequential([keras.Input((4,), name="x"), layers.Dense(units, name="y", **options)])


def with_layer(layer: Any) -> Any:
    return keras.Sequential([keras.Input((4,), name="x"), layer, layers.Dense(2, name="y")])


def identity(units: int = 3) -> Any:
    """A model whose output is its input."""
    model = keras.Sequential([keras.Input((units,), name="x"), layers.Dense(units, use_bias=False, name="y")])
    model.layers[0].kernel.assign(np.eye(units, dtype="float32"))
    return model


def embedding() -> Any:
    """A vocabulary of ten thousand words, of which the synthetic inputs contain a few."""
    ids = keras.Input((8,), dtype="int32", name="ids")
    words = layers.Embedding(10_000, 4, name="words")(ids)
    return keras.Model(ids, layers.Dense(2, name="y")(layers.Flatten()(words)))


def swelling() -> Any:
    """A model without weights that needs 16 TB to run."""
    picture = keras.Input((4, 4, 1), name="x")
    large = layers.ZeroPadding2D(10**6, name="swell")(picture)
    return keras.Model(picture, layers.GlobalAveragePooling2D(name="y")(large))


def unbuilt() -> Any:
    """A model without declared inputs."""
    return keras.Sequential([layers.Dense(2)])


def text() -> Any:
    """A model with text input, which only TensorFlow supports."""
    words = layers.TextVectorization(vocabulary=["good", "bad"], output_mode="multi_hot")
    texts = keras.Input((1,), dtype="string", name="text")
    return keras.Model(texts, layers.Dense(2, name="y")(words(texts)))


def chaos() -> Any:
    """A model so sensitive that the rounding of another runtime changes its outputs."""
    x = keras.Input((64,), name="x")
    return keras.Model(x, layers.Identity(name="y")(keras.ops.sin(1e7 * keras.ops.tanh(x))))


# Archives that Keras wrote, with changes


def changed(
    data: bytes,
    config: Callable[[Any], Any] = lambda config: config,
    metadata: dict[str, str] | None = None,
    weights: Callable[[h5py.File], None] | None = None,
    extra: tuple[tuple[str, bytes], ...] = (),
    without: str = "",
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """The archive with changed members. `config` and `weights` get the members that Keras wrote."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[CONFIG] = json.dumps(config(json.loads(members[CONFIG]))).encode()
    if metadata is not None:
        members[METADATA] = json.dumps({**json.loads(members[METADATA]), **metadata}).encode()
    if weights is not None:
        buffer = io.BytesIO(members[WEIGHTS])
        with h5py.File(buffer, "r+") as file:
            weights(file)
        members[WEIGHTS] = buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in [*members.items(), *extra]:
            if name != without:
                archive.writestr(name, content)
    return buffer.getvalue()


def last_layer(**changes: Any) -> Callable[[Any], Any]:
    """Change the last layer in the configuration."""

    def change(config: Any) -> Any:
        config["config"]["layers"][-1] |= changes
        return config

    return change


def last_layer_config(**changes: Any) -> Callable[[Any], Any]:
    def change(config: Any) -> Any:
        config["config"]["layers"][-1]["config"] |= changes
        return config

    return change


def input_shape(*shape: int | None) -> Callable[[Any], Any]:
    def change(config: Any) -> Any:
        config["config"]["layers"][0]["config"]["batch_shape"] = list(shape)
        return config

    return change


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_pb", ".pb"), content)
    return buffer.getvalue()


def without_weights(legacy: bytes) -> bytes:
    """A legacy file with its configuration only."""
    buffer = io.BytesIO(legacy)
    with h5py.File(buffer, "r+") as file:
        del file["model_weights"]
    return buffer.getvalue()


def tar(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("model.keras")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data)


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


class _Payload:
    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._canary,)


def pickled(canary: Path) -> bytes:
    """A pickle that creates the canary if it is loaded."""
    return pickle.dumps(_Payload(canary))


def lambda_layer(canary: Path) -> Any:
    """A Lambda whose code creates the canary."""
    path = str(canary)
    model = with_layer(
        layers.Lambda(lambda x: (open(path, "w").close(), x)[1], output_shape=(4,), name="plus")  # noqa: PTH123
    )
    canary.unlink(missing_ok=True)  # building the model runs the code
    return model


def lambda_activation(canary: Path) -> Any:
    path = str(canary)
    model = dense(activation=lambda x: (open(path, "w").close(), x)[1])  # noqa: PTH123
    canary.unlink(missing_ok=True)
    return model


# Changes to the weights


def link_to_another_file(file: h5py.File) -> None:
    file["layers/dense/vars/2"] = h5py.ExternalLink("/etc/shadow.h5", "data")


def data_of_another_file(file: h5py.File) -> None:
    file.create_dataset("layers/dense/vars/2", (16,), "u1", external=[("/etc/passwd", 0, 16)])


def no_kernel(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    del file["layers/dense/vars/1"]


def another_shape(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = np.zeros((5, 2), "float32")


def nan_that_no_synthetic_input_finds(file: h5py.File) -> None:
    file["layers/embedding/vars/0"][9_999, 1] = np.nan
