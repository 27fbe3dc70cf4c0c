"""Each remedy helps: a file is rejected, the test does what the message says, and the result is prepared."""

from __future__ import annotations

import gzip
import io
import json
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError
from keras_pipeline.prepare import prepare

OLDER = Path(__file__).parent / "older_keras"


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(1)


class Case:
    """A wrong file, and the file after the remedy. `words` of the message name the culprit and the remedy.

    A method of a case returns a Keras model, or the path of a file.
    """

    reason = Reason.MODEL_UNSUPPORTED
    words: tuple[str, ...] = ()
    runtime = "auto"
    """The runtime that the request for the wrong file names."""
    answers = ""
    """Name of the answers of Keras 2 that the result must give."""

    def wrong(self, folder: Path):
        raise NotImplementedError

    def remedy(self, folder: Path, wrong: Path):
        raise NotImplementedError

    def ask(self, model, x):
        return model(x, training=False)


def dense(name="y", units=2, **options):
    return keras.Sequential([keras.Input((4,), name="x"), layers.Dense(units, name=name, **options)])


def older(name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(gzip.decompress((OLDER / f"{name}.gz").read_bytes()))
    return path


def saved(model, path: Path) -> Path:
    model.save(path)
    return path


def edited(path: Path, edit=lambda config: None, weights=None, version=None) -> Path:
    """The archive with another configuration, other weights or another version."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config, metadata = json.loads(members["config.json"]), json.loads(members["metadata.json"])
    edit(config)
    metadata["keras_version"] = version or metadata["keras_version"]
    members |= {"config.json": json.dumps(config).encode(), "metadata.json": json.dumps(metadata).encode()}
    if weights:
        buffer = io.BytesIO(members["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            weights(file)
        members["model.weights.h5"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


class LegacyFileWithAnotherSuffix(Case):
    reason, words = Reason.MODEL_UNREADABLE, ("its address must end in .h5",)

    def wrong(self, folder):
        return saved(dense(), folder / "m.h5").rename(folder / "m.keras")

    def remedy(self, folder, wrong):
        return wrong.rename(folder / "right.h5")


class ArchiveWithAnotherSuffix(Case):
    reason, words = Reason.MODEL_UNREADABLE, ("its address must end in .keras",)

    def wrong(self, folder):
        return saved(dense(), folder / "m.keras").rename(folder / "m.h5")

    def remedy(self, folder, wrong):
        return wrong.rename(folder / "right.keras")


class IncompleteFile(Case):
    reason, words = Reason.MODEL_UNREADABLE, ("incomplete", "save the model again")

    def wrong(self, folder):
        path = saved(dense(), folder / "m.keras")
        path.write_bytes(path.read_bytes()[:-200])
        return path

    def remedy(self, folder, wrong):
        return dense()


class WeightsOnly(Case):
    reason, words = Reason.MODEL_UNREADABLE, ("use model.save, not save_weights",)

    def wrong(self, folder):
        dense().save_weights(folder / "m.weights.h5")
        return folder / "m.weights.h5"

    def remedy(self, folder, wrong):
        model = dense()
        model.load_weights(wrong)
        return model


class WeightsOfAnotherShape(Case):
    """The names of the layers contain words of Keras's messages about unsafe files."""

    reason, words = Reason.MODEL_UNREADABLE, ("layer 'Lambda_1'", "save the model again")

    def wrong(self, folder):
        path = saved(dense(name="Lambda_1"), folder / "m.keras")
        return edited(path, lambda config: config["config"]["layers"][1]["config"].update(units=3))

    def remedy(self, folder, wrong):
        return dense(name="Lambda_1")


class WeightsOfAnotherShapeInLegacyFile(WeightsOfAnotherShape):
    words = ("layer 'disallowed'", "save the model again")

    def wrong(self, folder):
        path = saved(dense(name="disallowed"), folder / "m.h5")
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = file.attrs["model_config"].replace('"units": 2', '"units": 3')
        return path


class MissingWeights(Case):
    reason, words = Reason.MODEL_UNREADABLE, ("layer 'y'", "are missing", "save the model again")

    def wrong(self, folder):
        def remove(file):
            del file["layers/dense/vars/1"]

        return edited(saved(dense(), folder / "m.keras"), weights=remove)

    def remedy(self, folder, wrong):
        return dense()


class DivergedWeights(Case):
    words = ("layer 'y'", "NaN", "train the model again")

    def wrong(self, folder):
        model = dense()
        model.layers[0].kernel.assign(np.full((4, 2), np.nan))
        return model

    def remedy(self, folder, wrong):
        model = dense()
        model.compile("sgd", "mse")
        model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
        return model


class Lambda(Case):
    reason, words = Reason.MODEL_UNSAFE, ("layer 'plus'", "keras.ops")

    def wrong(self, folder):
        return keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x + 1, name="plus")])

    def remedy(self, folder, wrong):
        x = keras.Input((4,))
        return keras.Model(x, ops.add(x, 1.0))


class LambdaActivation(Case):
    reason, words = Reason.MODEL_UNSAFE, ("layer 'y'", "Use a built-in function")

    def wrong(self, folder):
        return dense(activation=lambda x: ops.maximum(x, 0))

    def remedy(self, folder, wrong):
        return dense(activation="relu")


class VocabularyInAnotherFile(Case):
    reason, words = Reason.MODEL_UNSAFE, ("layer 'words'", "layer.set_vocabulary")

    def model(self, folder):
        (folder / "words.txt").write_text("cat\ndog\n")
        x = keras.Input((1,), dtype="string", name="x")
        lookup = layers.StringLookup(vocabulary=str(folder / "words.txt"), output_mode="one_hot", name="words")
        return keras.Model(x, layers.Dense(2)(lookup(x)))

    def wrong(self, folder):
        path = saved(self.model(folder), folder / "m.keras")
        return edited(path, lambda config: config["config"]["layers"][1]["config"].update(vocabulary="/etc/words.txt"))

    def remedy(self, folder, wrong):
        model = self.model(folder)
        model.get_layer("words").set_vocabulary(["cat", "dog"])
        return model


class HugeInput(Case):
    reason, words = Reason.MODEL_UNSAFE, ("input 'x'", "use a smaller shape")

    def model(self, side):
        return keras.Sequential([keras.Input((side, side, 3), name="x"), layers.GlobalMaxPooling2D()])

    def wrong(self, folder):
        return self.model(16_384)

    def remedy(self, folder, wrong):
        return self.model(64)


class HugeOutput(Case):
    reason, words = Reason.MODEL_UNSAFE, ("layer 'wide'", "make its output smaller")

    def model(self, times):
        return keras.Sequential([keras.Input((4,), name="x"), layers.RepeatVector(times, name="wide")])

    def wrong(self, folder):
        return self.model(1 << 28)

    def remedy(self, folder, wrong):
        return self.model(8)


class SparseInput(Case):
    words = ("input 'bag'", "make it dense")

    def model(self, sparse):
        return keras.Sequential([keras.Input((4,), sparse=sparse, name="bag"), layers.Dense(2)])

    def wrong(self, folder):
        return self.model(True)

    def remedy(self, folder, wrong):
        return self.model(False)


class Stateful(Case):
    words = ("layer 'memory'", "stateful=True", "stateful=False", "model.load_weights")

    def wrong(self, folder):
        return keras.Sequential(
            [keras.Input(batch_shape=(4, 6, 3)), layers.GRU(4, stateful=True, name="memory"), layers.Dense(2)]
        )

    def remedy(self, folder, wrong):
        old = keras.saving.load_model(wrong, compile=False)
        config = old.get_config()
        for layer in config["layers"]:
            if "stateful" in layer["config"]:
                layer["config"]["stateful"] = False
        new = keras.Sequential.from_config(config)
        new.load_weights(wrong)
        x = np.random.default_rng(0).standard_normal((4, 6, 3)).astype("float32")
        np.testing.assert_allclose(new(x), old(x), rtol=1e-6)
        return new


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


class RuntimeWithoutFallback(Case):
    reason, words = Reason.CONVERSION_FAILED, ("onnxruntime: ", "set spec.serving.runtime to auto")
    runtime = "onnxruntime"

    def wrong(self, folder):
        vector = layers.TextVectorization(output_sequence_length=4, vocabulary=["cat", "dog"])
        return keras.Sequential([keras.Input((1,), dtype="string", name="x"), vector, layers.Embedding(9, 2)])

    def remedy(self, folder, wrong):
        return wrong


CASES = [case for base in Case.__subclasses__() for case in (base, *base.__subclasses__())]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_remedy_in_the_message_helps(case, prepare_model, tmp_path):
    case = case()
    wrong = case.wrong(tmp_path)
    if not isinstance(wrong, Path):
        wrong = saved(wrong, tmp_path / "wrong.keras")
    with pytest.raises(PrepareError) as rejection:
        prepare_model(wrong.read_bytes(), wrong.suffix, runtime=case.runtime)
    assert rejection.value.reason == case.reason, rejection.value.message
    assert [word for word in case.words if word not in rejection.value.message] == [], rejection.value.message
    right = case.remedy(tmp_path, wrong)
    if not isinstance(right, Path):
        if case.answers:
            with np.load(OLDER / f"{case.answers}.npz") as arrays:
                np.testing.assert_allclose(case.ask(right, arrays["x0"]), arrays["y0"], rtol=1e-5, atol=1e-6)
        right = saved(right, tmp_path / "right.keras")
    runtime = "tensorflow" if case.runtime == "auto" else "auto"  # TensorFlow takes the least time
    prepare_model(right.read_bytes(), right.suffix, runtime=runtime)


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


SUBCLASSED = """
import keras

@keras.saving.register_keras_serializable(package="acme")
class Classifier(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)
"""


def test_a_subclassed_model_is_prepared_once_it_declares_its_inputs(tmp_path, monkeypatch):
    code = tmp_path / "code"
    code.mkdir()
    (code / "own_classifier.py").write_text(SUBCLASSED)

    def prepare_with_code(model) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [*sys.path])  # as in a new process
            patch.delitem(sys.modules, "own_classifier", raising=False)
            file = saved(model, tmp_path / "model.keras")
            return prepare(file, tmp_path / "bundle", custom_objects=code).parameters

    definitions = {"__name__": "own_classifier"}
    exec(SUBCLASSED, definitions)
    model = definitions["Classifier"]()
    model(np.zeros((1, 4)))
    with pytest.raises(PrepareError, match=r"keras\.Model\(inputs, model\(inputs\)\)"):
        prepare_with_code(model)
    sys.modules.pop("own_classifier", None)
    inputs = keras.Input((4,), name="x")
    assert prepare_with_code(keras.Model(inputs, model(inputs))) == 10
