"""The prepare step as a whole: odd models, refused models, the validation set, and the command as the Job runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from keras_api.manifest import decode_manifest
from keras_api.prepare_request import encode_request
from keras_api.reasons import Reason
from keras_api.resource import Requirement, Validation
from keras_api.step_report import decode_report
from keras_pipeline.errors import PrepareError
from keras_pipeline.prepare import prepare
from keras_pipeline.progress import Progress


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(1)


@keras.saving.register_keras_serializable(package="acme")
class Doubled(layers.Layer):
    """A layer that only its author has."""

    def call(self, x):
        return 2 * x


def dense(units: int = 2, **options):
    return keras.Sequential([keras.Input((4,), name="x"), layers.Dense(units, name="y", **options)])


def identity(units: int):
    """Answers with its input, so that a test can say what comes out."""
    model = keras.Sequential([keras.Input((units,), name="x"), layers.Dense(units, use_bias=False, name="y")])
    model.layers[0].kernel.assign(np.eye(units, dtype="float32"))
    return model


def test_a_model_built_by_its_first_call_takes_any_number_of_rows(prepare_model):
    model = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(2, name="answer")])
    model(np.zeros((32, 5), "float32"))
    prepared = prepare_model(model)
    assert [shape for _, _, shape in prepared.inputs] == [[-1, 5]]
    assert prepared.output_names == ["answer"]


def test_a_quantized_model_gets_the_runtime_that_is_measured_fastest(prepare_model):
    model = keras.Sequential([keras.Input((32,)), layers.Dense(16, activation="relu"), layers.Dense(4)])
    for layer in model.layers:
        layer.quantize("int8")
    summary = prepare_model(model).manifest.model
    (attempt,) = summary.rejected_runtimes
    assert {summary.runtime, attempt.runtime} == {"onnxruntime", "tensorflow"}
    assert attempt.reason.startswith("slower here: ")


def test_the_runtime_asked_for_is_taken(prepare_model):
    prepared = prepare_model(dense(), runtime="tensorflow")
    assert prepared.manifest.model.runtime == "tensorflow"
    assert prepared.manifest.entry == "saved_model"
    assert not (prepared.folder / "model.onnx").exists()


def test_a_compiled_model_with_a_loss_of_the_users_own_is_prepared(prepare_model):
    def own_loss(wanted, got):
        return keras.ops.mean(keras.ops.abs(wanted - got))

    model = dense()
    model.compile("adam", loss=own_loss)
    model.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0)
    assert prepare_model(model).manifest.model.parameters == 10


def diverged():
    model = dense()
    model.layers[0].kernel.assign(np.full((4, 2), np.nan))
    return model


REFUSED = {
    "a Lambda": (
        lambda: keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x + 1, name="plus_one")]),
        Reason.MODEL_UNSAFE,
        ["'plus_one'", "Lambda", "keras.ops"],
    ),
    "a lambda as an activation": (
        lambda: dense(activation=lambda x: x),
        Reason.MODEL_UNSAFE,
        ["'y'", "lambda"],
    ),
    "a custom layer": (
        lambda: keras.Sequential([keras.Input((4,)), Doubled(name="twice")]),
        Reason.MODEL_UNSUPPORTED,
        ["acme>Doubled", "'twice'", "spec.source.customObjects.configMapRef"],
    ),
    "diverged weights": (diverged, Reason.MODEL_UNSUPPORTED, ["NaN", "'y'", "diverged"]),
    "a state that outlives a request": (
        lambda: keras.Sequential([keras.Input(batch_shape=(4, 10, 3)), layers.LSTM(4, stateful=True)]),
        Reason.MODEL_UNSUPPORTED,
        ["[1, 10, 3]", "any number of rows"],
    ),
    "sparse inputs": (
        lambda: keras.Sequential([keras.Input((4,), sparse=True, name="bag"), layers.Dense(2)]),
        Reason.MODEL_UNSUPPORTED,
        ["'bag'", "sparse"],
    ),
}


@pytest.mark.parametrize(("build", "reason", "words"), REFUSED.values(), ids=REFUSED)
def test_a_model_is_refused_by_name_for_what_it_holds(build, reason, words, prepare_model):
    with pytest.raises(PrepareError) as refusal:
        prepare_model(build())
    assert refusal.value.reason == reason
    assert [word for word in words if word not in refusal.value.message] == []


def test_without_a_fallback_a_failed_conversion_says_which_operation_is_missing(prepare_model):
    code = keras.Input((1,), dtype="int64", name="code")
    lookup = layers.IntegerLookup(vocabulary=[10, 20], output_mode="one_hot")
    with pytest.raises(PrepareError) as refusal:
        prepare_model(keras.Model(code, layers.Dense(2)(lookup(code))), runtime="onnxruntime")
    assert refusal.value.reason == Reason.CONVERSION_FAILED
    assert "onnxruntime: " in refusal.value.message


ROWS = "label,a,b,c\n0,9,1,1\n1,1,9,1\n2,1,1,9\n2,9,1,1\n"


def test_metrics_are_computed_on_the_validation_set_and_its_rows_become_golden(prepare_model):
    prepared = prepare_model(identity(3), csv=ROWS)
    assert prepared.manifest.model.metrics == {"accuracy": "0.75"}
    assert prepared.golden("input")["x"].tolist() == [[9, 1, 1], [1, 9, 1], [1, 1, 9], [9, 1, 1]]


def test_a_model_below_its_bound_is_not_bundled(prepare_model):
    require = [Requirement(metric="accuracy", min="0.9")]
    work = prepare_model.source(identity(3), csv=ROWS)
    validation = Validation(data="s3://models/rows.csv", require=require)
    with pytest.raises(PrepareError, match=r"accuracy is 0.75 on 4 rows, below the required 0.9") as failure:
        prepare(prepare_model.request(validation=validation), work, Progress())
    assert failure.value.reason == Reason.VALIDATION_FAILED
    assert not (work / "bundle/manifest.json").exists()


def test_a_bundle_that_is_there_already_is_only_reported(prepare_model):
    prepared = prepare_model(dense())
    work = prepared.folder.parent
    (work / "source/model.keras").unlink()  # fetch leaves no source when the store has the bundle
    assert prepare(prepare_model.request(), work, Progress()) == prepared.manifest.model


def test_what_a_killed_run_left_is_cleared(prepare_model):
    work = prepare_model.source(dense())
    for folder in ("bundle", "scratch"):
        (work / folder).mkdir()
        (work / folder / "model.onnx").write_bytes(b"half")
    prepare(prepare_model.request(), work, Progress())
    manifest = decode_manifest((work / "bundle/manifest.json").read_bytes())
    assert {record.path for record in manifest.files} == {"model.onnx", "golden.npz"}
    assert not (work / "scratch").exists()


def command(work, request):
    arguments = ["prepare", "--request", encode_request(request), "--work", str(work)]
    return [sys.executable, "-m", "keras_pipeline", *arguments]


def test_the_command_reports_a_model_in_the_termination_message(prepare_model, tmp_path):
    work = prepare_model.source(dense())
    environment = {**os.environ, "TERMINATION_MESSAGE_PATH": str(tmp_path / "message")}
    done = subprocess.run(command(work, prepare_model.request()), env=environment, capture_output=True, text=True)
    report = decode_report((tmp_path / "message").read_bytes())
    assert done.returncode == 0
    assert report.model == decode_manifest((work / "bundle/manifest.json").read_bytes()).model
    progress = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["logger"] for line in progress} == {"keras_pipeline"}
    assert "converting to onnxruntime" in [line["message"] for line in progress]
    assert progress[-1]["seconds"] > 0


def test_the_command_reports_a_refusal_and_fails(prepare_model, tmp_path):
    work = prepare_model.source(b"")
    environment = {**os.environ, "TERMINATION_MESSAGE_PATH": str(tmp_path / "message")}
    done = subprocess.run(command(work, prepare_model.request()), env=environment, capture_output=True, text=True)
    failure = decode_report((tmp_path / "message").read_bytes()).failure
    assert done.returncode == 1
    assert failure.reason == Reason.MODEL_UNREADABLE
    assert json.loads(done.stderr.splitlines()[-1])["message"] == f"{failure.reason}: {failure.message}"


def test_sigterm_ends_the_command_at_once_even_where_python_would_not_look(prepare_model):
    work = prepare_model.source(dense())
    with subprocess.Popen(command(work, prepare_model.request()), stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "importing TensorFlow" in line:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 128 + signal.SIGTERM
    assert not (work / "bundle/manifest.json").exists()


def test_what_keras_itself_gets_wrong_in_a_graph_is_not_served(prepare_model):
    """Keras 3.15: with a free length, TimeDistributed in a graph answers as many steps as there are rows."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    tags = layers.TimeDistributed(layers.Dense(3))(layers.Embedding(10, 4)(ids))
    with pytest.raises(PrepareError, match=r"A fixed shape for 'ids' may help") as failure:
        prepare_model(keras.Model(ids, tags))
    assert failure.value.reason == Reason.PARITY_FAILED


def test_large_inputs_are_compared_in_few_rows(prepare_model):
    model = keras.Sequential([keras.Input((512, 512, 3)), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    prepared = prepare_model(model)
    assert prepared.manifest.model.parity.rows == 1 + 7 + 1
    assert (prepared.folder / "golden.npz").stat().st_size < 5 << 20
