"""Damaged, misnamed and malicious model files: each is rejected with its cause before Keras is imported."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest

from keras_api.reasons import Reason
from keras_pipeline.custom_objects import reject_custom_objects
from keras_pipeline.errors import PrepareError
from keras_pipeline.inspection import inspect
from keras_pipeline.model_file import read_model_file
from keras_pipeline.weights import _blocks

METADATA = {"keras_version": "3.15.1", "date_saved": "2026-11-22@07:00:00"}


def layer(name: str, class_name: str, config: dict | None = None, module: str | None = "keras.layers", **more) -> dict:
    return {
        "module": module,
        "class_name": class_name,
        "config": {"name": name, **(config or {})},
        "registered_name": None,
        **more,
    }


DENSE = layer("dense", "Dense", {"units": 4}, build_config={"input_shape": [None, 8]})


def sequential(*layers: dict, **more) -> dict:
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}, **more}


def weights_of(write=None) -> bytes:
    """An HDF5 file with a Dense layer's weights and an optimizer's; `write` changes it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((8, 4), "float32")
        file["layers/dense/vars/1"] = np.zeros(4, "float32")
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, "uint32")
        file["optimizer/vars/0"] = np.zeros((8, 4), "float32")
        if write:
            write(file)
    return buffer.getvalue()


def keras_file(config=None, weights_=None, extra=(), compression=zipfile.ZIP_STORED, without=()) -> bytes:
    """A `.keras` archive as Keras writes it, with changes."""
    members = {
        "metadata.json": json.dumps(METADATA),
        "config.json": config if isinstance(config, bytes | str) else json.dumps(config or sequential(DENSE)),
        "model.weights.h5": weights_of() if weights_ is None else weights_,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in [*members.items(), *extra]:
            if name not in without:
                archive.writestr(name, data)
    return buffer.getvalue()


def legacy_file(config=None, weights=True) -> bytes:
    def write(file):
        file.move("layers", "model_weights" if weights else "optimizer_weights/layers")
        file.attrs["keras_version"] = "2.15.0"
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)

    return weights_of(write)


@pytest.fixture
def read(tmp_path):
    def read(data: bytes, suffix: str = ".keras"):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(data)
        file = read_model_file(path)
        properties = inspect(file)
        reject_custom_objects(properties.custom_objects)
        return file, properties

    return read


@pytest.fixture
def rejection(read):
    def rejection(data: bytes, suffix: str = ".keras") -> PrepareError:
        with pytest.raises(PrepareError) as error:
            read(data, suffix)
        return error.value

    return rejection


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_complete_archive_is_read_without_keras(compression, read):
    file, properties = read(keras_file(compression=compression))
    assert file.weights.count == 8 * 4 + 4
    assert properties.keras_version == "3.15.1"
    assert not properties.half_precision
    assert not properties.quantized


def test_a_legacy_file_is_read_without_keras(read):
    file, properties = read(legacy_file(sequential(DENSE)), ".h5")
    assert file.format == "h5"
    assert file.weights.count == 8 * 4 + 4
    assert properties.keras_version == "2.15.0"


def policy(class_name, name):
    return {"module": "keras", "class_name": class_name, "config": {"name": name}, "registered_name": None}


@pytest.mark.parametrize(
    ("dtype", "half", "quantized"),
    [
        (policy("DTypePolicy", "float32"), False, False),
        (policy("DTypePolicy", "mixed_float16"), True, False),
        (policy("DTypePolicy", "bfloat16"), True, False),
        (policy("QuantizedDTypePolicy", "int8_from_float32"), False, True),
        ("float16", True, False),
    ],
)
def test_the_precision_is_determined_before_loading(dtype, half, quantized, read):
    _, properties = read(keras_file(sequential(layer("dense", "Dense", {"dtype": dtype}))))
    assert (properties.half_precision, properties.quantized) == (half, quantized)


WHOLE = keras_file()


def flipped(data: bytes, at: bytes) -> bytes:
    """The file with one bit flipped, a little after some bytes."""
    place = data.index(at) + 600
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


UNREADABLE = {
    "a flipped bit": (flipped(WHOLE, b"\x89HDF"), ".keras", "damaged (Bad CRC-32"),
    "a flipped bit, compressed": (
        flipped(keras_file(compression=zipfile.ZIP_DEFLATED), b"model.weights.h5"),
        ".keras",
        "its model.weights.h5 is damaged",
    ),
    "empty": (b"", ".keras", "it is an empty file"),
    "random bytes": (bytes(range(7, 250)) * 20, ".keras", "a file of an unknown format"),
    "a pickle": (pickle.dumps({"weights": [1, 2]}), ".keras", "a Python pickle"),
    "an HTML page": (b"\n<!DOCTYPE html><html>Sign in</html>", ".keras", "an HTML page"),
    "a storage's error": (b"<?xml version='1.0'?><Error><Code>NoSuchKey", ".keras", "an XML document"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", ".keras", "Git LFS pointer"),
    "a gzip file": (b"\x1f\x8b\x08" + b"\0" * 30, ".keras", "a gzip file"),
    "a tar archive": (bytes(257) + b"ustar\x0000" + bytes(200), ".keras", "a tar archive (unpack it)"),
    "a bzip2 file": (b"BZh91AY&SY" + bytes(9), ".keras", "a compressed file (unpack it)"),
    "a 7z archive": (b"7z\xbc\xaf\x27\x1c" + bytes(9), ".keras", "a 7z or RAR archive (unpack it)"),
    "a safetensors file": (struct.pack("<Q", 20) + b'{"w":{"dtype":"F32"}}', ".keras", "a safetensors file"),
    "a NumPy array": (b"\x93NUMPY\1\0", ".keras", "a NumPy array"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(9), ".keras", "a PNG image"),
    "a photograph": (b"\xff\xd8\xff\xe0" + bytes(9), ".keras", "a JPEG image"),
    "a document": (b"%PDF-1.7\n", ".keras", "a PDF document"),
    "a program": (b"\x7fELF\2\1\1" + bytes(9), ".keras", "an executable program"),
    "a text": ("epoch,loss\n1,0.5 für alle\n".encode(), ".keras", "a plain text file"),
    "a .h5 without its weights": (legacy_file(sequential(DENSE), weights=False), ".h5", "it does not contain weights"),
    "cut in half": (WHOLE[: len(WHOLE) // 2], ".keras", "the upload is incomplete"),
    "HDF5 called .keras": (weights_of(), ".keras", "its address must end in .h5"),
    "a zip called .h5": (WHOLE, ".h5", "its address must end in .keras"),
    "a damaged .h5": (weights_of()[:1000], ".h5", "it is not a complete HDF5 file"),
    "weights only": (legacy_file(), ".h5", "use model.save, not save_weights"),
    "no config": (keras_file(without=["config.json"]), ".keras", "without config.json"),
    "no weights": (keras_file(without=["model.weights.h5"]), ".keras", "does not contain model.weights.h5"),
    "cut weights": (
        keras_file(weights_=weights_of()[:1000]),
        ".keras",
        "its model.weights.h5 is not a complete HDF5 file",
    ),
    "config is no JSON": (keras_file("{"), ".keras", "its config.json is not valid JSON"),
    "config is a list": (keras_file("[]"), ".keras", "its config.json does not describe a model"),
    "config is null": (keras_file("null"), ".keras", "its config.json does not describe a model"),
    "config nests without end": (keras_file("[" * 200_000), ".keras", "its config.json is not valid JSON"),
    "config names no class": (keras_file({"config": {}}), ".keras", "does not name a class"),
    "a PyTorch checkpoint": (keras_file(extra=[("archive/data.pkl", b"")]), ".keras", "a PyTorch checkpoint"),
    "a zipped SavedModel": (keras_file(extra=[("m/saved_model.pb", b"")]), ".keras", "a zipped SavedModel"),
}


@pytest.mark.parametrize(("data", "suffix", "words"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_not_a_complete_model_is_rejected_with_its_kind(data, suffix, words, rejection):
    error = rejection(data, suffix)
    assert words in error.message
    assert error.reason == Reason.MODEL_UNREADABLE


def declaring(size: int) -> bytes:
    """An archive whose directory says that the weights unpack to `size` bytes."""
    data = bytearray(WHOLE)
    entry = data.index(b"model.weights.h5", data.index(b"PK\x01\x02")) - 46
    data[entry + 24 : entry + 28] = struct.pack("<I", size)
    return bytes(data)


def link_elsewhere(file):
    file["layers/dense/vars/2"] = h5py.ExternalLink("/etc/shadow.h5", "data")


def link_softly(file):
    file["layers/dense/vars/2"] = h5py.SoftLink("/layers")


def data_elsewhere(file):
    file.create_dataset("layers/dense/vars/2", (16,), "u1", external=[("/etc/passwd", 0, 16)])


def promise_the_moon(file):
    file.create_dataset("layers/dense/vars/2", (1 << 34,), "f4", chunks=(1 << 20,), compression="gzip")


UNSAFE = {
    "a bomb for a config": (keras_file(b" " * (1 << 26) + b"{}", compression=zipfile.ZIP_DEFLATED), "would unpack to"),
    "a huge config": (keras_file(b" " * (33 << 20)), "its config.json has 34,603,008 bytes"),
    "a bomb for weights": (keras_file(weights_=bytes(1 << 26), compression=zipfile.ZIP_DEFLATED), "would unpack to"),
    "a lie about the size": (declaring(0xFFFFFFF0), "would unpack to"),
    "a path upwards": (keras_file(extra=[("assets/../../../etc/cron.d/x", "")]), "outside its folder"),
    "an absolute path": (keras_file(extra=[("/etc/cron.d/x", "")]), "outside its folder"),
    "a stowaway": (keras_file(extra=[("setup.py", "")]), "not part of a .keras file"),
    "too many members": (keras_file(extra=[(f"assets/{i}", "") for i in range(10_001)]), "members"),
    "weights that link to another file": (keras_file(weights_=weights_of(link_elsewhere)), "vars/2 are a link"),
    "weights that link within": (keras_file(weights_=weights_of(link_softly)), "vars/2 are a link"),
    "weights in another file": (keras_file(weights_=weights_of(data_elsewhere)), "are stored in another file"),
    "weights far beyond the file": (keras_file(weights_=weights_of(promise_the_moon)), "would take 68,719"),
    "assets that fill the disk": (
        keras_file(extra=[(f"assets/{i}", bytes(1 << 20)) for i in range(1025)], compression=zipfile.ZIP_DEFLATED),
        "its assets would unpack to 1,074,790,400 bytes",
    ),
    "a billion pixels": (
        keras_file(sequential(layer("picture", "InputLayer", {"batch_shape": [None, 32_768, 32_768, 1]}), DENSE)),
        "input 'picture' takes 1,073,741,824 values per row",
    ),
    "a billion units": (
        keras_file(sequential(layer("big", "Dense", {"units": 10**9}, build_config={"input_shape": [None, 8]}))),
        "declare at least 8,000,000,000 weights, but it stores 36",
    ),
    "a billion ids": (
        keras_file(sequential(layer("big", "Embedding", {"input_dim": 10**9, "output_dim": 64}))),
        "declare at least 64,000,000,000 weights",
    ),
    "a Lambda": (keras_file(sequential(layer("bang", "Lambda"))), "layer 'bang' is a Lambda"),
    "a lambda inside a layer": (
        keras_file(sequential(layer("dense", "Dense", {"activation": {"class_name": "__lambda__", "config": {}}}))),
        "layer 'dense' contains a Python lambda",
    ),
    "a lambda inside a nested model": (
        keras_file(sequential(sequential(layer("bang", "Lambda")))),
        "layer 'bang' is a Lambda",
    ),
    "another SavedModel": (keras_file(sequential(layer("sm", "TFSMLayer"))), "layer 'sm' is a TFSMLayer"),
    "a pickled torch module": (keras_file(sequential(layer("t", "TorchModuleWrapper"))), "contains a pickle"),
    "a vocabulary on the host": (
        keras_file(sequential(layer("lookup", "StringLookup", {"vocabulary": "/etc/passwd"}))),
        "layer 'lookup' reads its vocabulary from '/etc/passwd'",
    ),
    "os.system": (keras_file(sequential(layer("x", "system", module="os"))), "'os.system', which is not part"),
    "eval": (keras_file(sequential(layer("x", "eval", module="builtins"))), "'builtins.eval', which is not part"),
    "a download": (keras_file(sequential(layer("x", "get_file", module="keras.utils"))), "'keras.utils.get_file'"),
    "a function of os": (
        keras_file(
            sequential(
                layer("d", "Dense", {"activation": {"module": "os", "class_name": "function", "config": "_exit"}})
            )
        ),
        "layer 'd' refers to 'os._exit'",
    ),
    "a switch of Keras's": (
        keras_file(sequential(layer("x", "enable_unsafe_deserialization", module="keras.config"))),
        "'keras.config.enable_unsafe_deserialization'",
    ),
    "a download of weights": (
        keras_file(sequential(layer("x", "ResNet50", module="keras.applications"))),
        "'keras.applications.ResNet50', which is not part of a model; find out who created the file",
    ),
    "a download of weights in the source": (
        keras_file(sequential(layer("x", "ConvNeXtTiny", module="keras.src.applications.convnext"))),
        "'keras.src.applications.convnext.ConvNeXtTiny'",
    ),
    "a download whose module is a part of its name": (
        keras_file(sequential(layer("x", "utils.get_file", module="keras"))),
        "'keras.utils.get_file'",
    ),
    "a loader of models": (
        keras_file(sequential(layer("x", "load_model", module="keras.models"))),
        "'keras.models.load",
    ),
    "a logger": (
        keras_file(sequential(layer("x", "CSVLogger", module="keras.callbacks"))),
        "'keras.callbacks.CSVLogger'",
    ),
    "a loader without safe mode": (
        keras_file(sequential(layer("x", "load_model", module="keras.src.saving.saving_lib"))),
        "'keras.src.saving.saving_lib.load_model'",
    ),
}


@pytest.mark.parametrize(("data", "words"), UNSAFE.values(), ids=UNSAFE)
def test_a_malicious_file_is_rejected_before_loading(data, words, rejection):
    error = rejection(data)
    assert words in error.message
    assert error.reason == Reason.MODEL_UNSAFE


NAN = {
    "in a matrix": ("layers/dense/vars/0", (3, 1)),
    "in a vector": ("layers/dense/vars/1", 2),
}


@pytest.mark.parametrize(("path", "place"), NAN.values(), ids=NAN)
def test_weights_that_are_nan_are_found_at_any_position(path, place, rejection):
    def spoil(file):
        file[path][place] = np.nan
        file["layers/dense/vars"].attrs["name"] = "digits"

    error = rejection(keras_file(weights_=weights_of(spoil)))
    assert error.message.startswith(f"weights of layer 'digits' are NaN (/{path}; ")
    assert error.reason == Reason.MODEL_UNSUPPORTED


@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, 0, 3), (2, 2, 3, 2), (5, 9)])
def test_blocks_cover_each_value_of_an_array_once(shape, monkeypatch):
    monkeypatch.setattr("keras_pipeline.weights.BLOCK", 4)
    array = np.zeros(shape)
    for block in _blocks(shape):
        assert array[block].size <= 4
        array[block] += 1
    assert (array == 1).all()


UNSUPPORTED = {
    "a registered class": (
        layer("twice", "Doubled", module="acme.layers", registered_name="acme>Doubled"),
        "'acme>Doubled' (layer 'twice')",
    ),
    "a class by its module": (layer("twice", "Doubled", module="acme.layers"), "'acme.layers.Doubled' (layer 'twice')"),
    "a class of a script": (layer("twice", "Doubled", module="__main__"), "'__main__.Doubled'"),
    "a class of a notebook": (
        {**layer("twice", "Doubled", module=None), "registered_name": "Doubled"},
        "'Doubled' (layer 'twice')",
    ),
    "a function of one's own": (
        layer("d", "Dense", {"activation": {"module": "acme", "class_name": "function", "config": "swoosh"}}),
        "'acme.swoosh' (layer 'd')",
    ),
    "JAX": (layer("j", "JaxLayer"), "layer 'j' is a JaxLayer"),
    "an operation of Keras 2": (
        layer("tf.nn.relu", "TFOpLambda", module="tf_keras.src.layers.core.tf_op_layer"),
        "layer 'tf.nn.relu' is a TensorFlow operation in a model of Keras 2",
    ),
    "a slice of Keras 2": (
        layer("cut", "SlicingOpLambda"),
        "layer 'cut' is a TensorFlow operation in a model of Keras 2",
    ),
    "a stateful layer": (layer("memory", "LSTM", {"stateful": True}), "layer 'memory' has stateful=True"),
    "a stateful layer in a wrapper": (
        layer("both", "Bidirectional", {"layer": layer("memory", "LSTM", {"stateful": True})}),
        "layer 'memory' has stateful=True",
    ),
}


@pytest.mark.parametrize(("part", "words"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_the_error_names_a_part_that_keras_does_not_have(part, words, rejection):
    error = rejection(keras_file(sequential(part)))
    assert words in error.message
    assert error.reason == Reason.MODEL_UNSUPPORTED


def test_the_error_names_a_custom_model_class(rejection):
    own = {"module": None, "class_name": "Own", "config": {}, "registered_name": "Custom>Own"}
    assert "'Custom>Own' (the model itself)" in rejection(keras_file(own)).message


def test_the_error_names_a_registered_class_in_a_legacy_file(rejection):
    own = {"class_name": "acme>Doubled", "config": {"name": "twice"}}
    assert "'acme>Doubled' (layer 'twice')" in rejection(legacy_file(sequential(own)), ".h5").message


def test_an_argument_of_a_custom_layer_may_be_called_stateful(read):
    own = layer("own", "Own", {"stateful": True}, module="acme", registered_name="acme>Own")
    with pytest.raises(PrepareError, match=r"'acme>Own' \(layer 'own'\)"):
        read(keras_file(sequential(own)))


def test_a_library_is_not_to_be_put_into_a_config_map(rejection):
    hub = layer("backbone", "GemmaBackbone", module="keras_hub.src.models", registered_name="keras_hub>GemmaBackbone")
    message = rejection(keras_file(sequential(hub))).message
    assert "'keras_hub>GemmaBackbone' (layer 'backbone')" in message
    assert "install keras-hub in an image that is based on the pipeline image" in message
    assert "put it into a ConfigMap" not in message


def test_custom_losses_and_metrics_of_training_are_ignored(read):
    own = {"loss": {"module": "acme", "class_name": "OwnLoss", "config": {}, "registered_name": "acme>OwnLoss"}}
    read(keras_file(sequential(DENSE, compile_config=own)))


def test_the_error_names_weights_in_another_format(rejection):
    error = rejection(keras_file(without=["model.weights.h5"], extra=[("model.weights.npz", b"")]))
    assert error.reason == Reason.MODEL_UNSUPPORTED
    assert "model.weights.npz" in error.message
