"""Each remedy helps: a file is rejected, the test does what the message says, and the result is prepared."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.ops.numpy import Floor

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError
from keras_pipeline.prepare import prepare

sys.path.append(str(Path(__file__).parent))
from remedies import Case, cases, check, dense, edited, saved


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


class OperationInLegacyFile(Case):
    words = ("layer 'floor'", "operation 'Floor' of keras.ops", "model.save('name.keras')")

    def model(self):
        x = keras.Input((4,), name="x")
        return keras.Model(x, layers.Dense(2, name="y")(Floor(name="floor")(x)))

    def wrong(self, folder):
        return saved(self.model(), folder / "m.h5")

    def remedy(self, folder, wrong):
        return self.model()


class AdditionInLegacyFile(OperationInLegacyFile):
    """Keras writes an addition of two tensors with the name of the layer Add, and cannot call this layer."""

    words = ("cannot load the model", "save the model with model.save('name.keras') instead")

    def model(self):
        x = keras.Input((4,), name="x")
        return keras.Model(x, layers.Dense(4)(x) + x)


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


class RuntimeWithoutFallback(Case):
    reason, words = Reason.CONVERSION_FAILED, ("onnxruntime: ", "set spec.serving.runtime to auto")
    runtime = "onnxruntime"

    def wrong(self, folder):
        vector = layers.TextVectorization(output_sequence_length=4, vocabulary=["cat", "dog"])
        return keras.Sequential([keras.Input((1,), dtype="string", name="x"), vector, layers.Embedding(9, 2)])

    def remedy(self, folder, wrong):
        return wrong


@pytest.mark.parametrize("case", cases(globals()), ids=lambda case: case.__name__)
def test_the_remedy_in_the_message_helps(case, prepare_model, tmp_path):
    check(case(), prepare_model, tmp_path)


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
