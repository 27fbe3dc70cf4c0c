"""The prepare step: unusual models, rejected models, the validation set, and the command of the Job."""

from __future__ import annotations

import hashlib
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
from keras_api.work_folder import WorkFolder
from keras_pipeline.errors import PrepareError
from keras_pipeline.prepare import prepare
from keras_pipeline.validation import ValidationFile
from keras_runtimes import golden


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(1)


@keras.saving.register_keras_serializable(package="acme")
class Doubled(layers.Layer):
    """A custom layer."""

    def call(self, x):
        return 2 * x


def dense(units: int = 2, **options):
    return keras.Sequential([keras.Input((4,), name="x"), layers.Dense(units, name="y", **options)])


def identity(units: int):
    """A model whose output is its input."""
    model = keras.Sequential([keras.Input((units,), name="x"), layers.Dense(units, use_bias=False, name="y")])
    model.layers[0].kernel.assign(np.eye(units, dtype="float32"))
    return model


def test_a_model_built_by_its_first_call_accepts_any_number_of_rows(prepare_model):
    model = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(2, name="answer")])
    model(np.zeros((32, 5), "float32"))
    prepared = prepare_model(model)
    assert [shape for _, _, shape in prepared.inputs] == [[-1, 5]]
    assert prepared.output_names == ["answer"]


def test_a_quantized_model_gets_the_runtime_that_is_fastest_when_measured(prepare_model):
    model = keras.Sequential([keras.Input((32,)), layers.Dense(16, activation="relu"), layers.Dense(4)])
    for layer in model.layers:
        layer.quantize("int8")
    summary = prepare_model(model).manifest.model
    (rejected,) = summary.rejected_runtimes
    assert {summary.runtime, rejected.runtime} == {"onnxruntime", "tensorflow"}
    assert rejected.reason.startswith("slower here: ")


def test_the_requested_runtime_is_used(prepare_model):
    prepared = prepare_model(dense(), runtime="tensorflow")
    assert prepared.manifest.model.runtime == "tensorflow"
    assert prepared.manifest.entry == "saved_model"
    assert not (prepared.folder / "model.onnx").exists()


def test_a_model_compiled_with_a_custom_loss_is_prepared(prepare_model):
    def custom_loss(expected, actual):
        return keras.ops.mean(keras.ops.abs(expected - actual))

    model = dense()
    model.compile("adam", loss=custom_loss)
    model.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0)
    assert prepare_model(model).manifest.model.parameters == 10


def diverged():
    model = dense()
    model.layers[0].kernel.assign(np.full((4, 2), np.nan))
    return model


REJECTED = {
    "a Lambda": (
        lambda: keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x + 1, name="plus_one")]),
        Reason.MODEL_UNSAFE,
        ["'plus_one'", "Lambda", "keras.ops"],
    ),
    "a lambda as the activation": (
        lambda: dense(activation=lambda x: x),
        Reason.MODEL_UNSAFE,
        ["'y'", "lambda"],
    ),
    "a custom layer": (
        lambda: keras.Sequential([keras.Input((4,)), Doubled(name="twice")]),
        Reason.MODEL_UNSUPPORTED,
        ["acme>Doubled", "'twice'", "spec.source.customObjects.configMapRef"],
    ),
    "diverged weights": (diverged, Reason.MODEL_UNSUPPORTED, ["NaN", "'y'", "diverge"]),
    "a state that outlives a request": (
        lambda: keras.Sequential([keras.Input(batch_shape=(4, 10, 3)), layers.LSTM(4, stateful=True, name="memory")]),
        Reason.MODEL_UNSUPPORTED,
        ["'memory'", "stateful=True", "stateful=False"],
    ),
    "sparse inputs": (
        lambda: keras.Sequential([keras.Input((4,), sparse=True, name="bag"), layers.Dense(2)]),
        Reason.MODEL_UNSUPPORTED,
        ["'bag'", "sparse"],
    ),
}


@pytest.mark.parametrize(("build", "reason", "words"), REJECTED.values(), ids=REJECTED)
def test_the_error_names_the_layer_that_is_rejected(build, reason, words, prepare_model):
    with pytest.raises(PrepareError) as rejection:
        prepare_model(build())
    assert rejection.value.reason == reason
    assert [word for word in words if word not in rejection.value.message] == []


def test_a_failed_conversion_without_fallback_is_an_error(prepare_model):
    code = keras.Input((1,), dtype="int64", name="code")
    lookup = layers.IntegerLookup(vocabulary=[10, 20], output_mode="one_hot")
    with pytest.raises(PrepareError) as rejection:
        prepare_model(keras.Model(code, layers.Dense(2)(lookup(code))), runtime="onnxruntime")
    assert rejection.value.reason == Reason.CONVERSION_FAILED
    assert "onnxruntime: " in rejection.value.message


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
        prepare_model.run(work, validation=validation)
    assert failure.value.reason == Reason.VALIDATION_FAILED
    assert names_in(work.path) == ["source"]


def test_a_bundle_that_exists_already_is_reported_without_a_run(prepare_model):
    prepared = prepare_model(dense())
    work = WorkFolder(prepared.folder.parent)
    work.model(".keras").unlink()  # fetch writes no source if the store has the bundle
    assert prepare_model.run(work) == prepared.manifest.model


def test_files_of_a_killed_run_are_deleted(prepare_model):
    work = prepare_model.source(dense())
    for folder in (work.bundle, work.path / ".bundle.partial/bundle"):
        folder.mkdir(parents=True)
        (folder / "half.onnx").write_bytes(b"half")
    prepare_model.run(work)
    manifest = decode_manifest((work.bundle / "manifest.json").read_bytes())
    assert names_in(work.bundle) == ["golden.npz", "manifest.json", "model.onnx"]
    assert {record.path for record in manifest.files} == {"model.onnx", "golden.npz"}
    assert names_in(work.path) == ["bundle", "source"]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_prepared_without_a_work_folder(tmp_path):
    file = tmp_path / "digits.keras"
    identity(3).save(file)
    (tmp_path / "rows.csv").write_text(ROWS)
    lines = []
    summary = prepare(
        file, tmp_path / "bundle", validation=ValidationFile(tmp_path / "rows.csv"), progress=lines.append
    )
    manifest = decode_manifest((tmp_path / "bundle/manifest.json").read_bytes())
    assert manifest.model == summary
    assert summary.metrics == {"accuracy": "0.75"}
    assert summary.digest == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert summary.digest.startswith(f"sha256:{manifest.revision}")
    assert manifest.source.uri == file.as_uri()
    assert names_in(tmp_path) == ["bundle", "digits.keras", "rows.csv"]
    assert (lines[0], lines[-1]) == (f"reading digits.keras ({summary.size_bytes:,} bytes)", "prepared for onnxruntime")


def test_files_of_the_user_in_the_output_folder_are_never_deleted(tmp_path):
    file = tmp_path / "digits.keras"
    file.write_bytes(b"")
    with pytest.raises(FileExistsError, match="is not empty"):
        prepare(file, tmp_path)
    assert names_in(tmp_path) == ["digits.keras"]


def command(work, request):
    arguments = ["prepare", "--request", encode_request(request), "--work", str(work.path)]
    return [sys.executable, "-m", "keras_pipeline", *arguments]


def test_the_command_reports_a_model_in_the_termination_message(prepare_model, tmp_path):
    work = prepare_model.source(dense())
    environment = {**os.environ, "TERMINATION_MESSAGE_PATH": str(tmp_path / "message")}
    done = subprocess.run(command(work, prepare_model.request()), env=environment, capture_output=True, text=True)
    report = decode_report((tmp_path / "message").read_bytes())
    assert done.returncode == 0
    assert report.model == decode_manifest((work.bundle / "manifest.json").read_bytes()).model
    # TensorFlow writes a line about oneDNN, which no setting suppresses.
    progress = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {line["logger"] for line in progress} == {"keras_pipeline"}
    assert "converting to onnxruntime" in [line["message"] for line in progress]
    assert progress[-1]["seconds"] > 0


def test_the_command_reports_a_rejected_model_and_fails(prepare_model, tmp_path):
    work = prepare_model.source(b"")
    environment = {**os.environ, "TERMINATION_MESSAGE_PATH": str(tmp_path / "message")}
    done = subprocess.run(command(work, prepare_model.request()), env=environment, capture_output=True, text=True)
    failure = decode_report((tmp_path / "message").read_bytes()).failure
    assert done.returncode == 1
    assert failure.reason == Reason.MODEL_UNREADABLE
    assert json.loads(done.stderr.splitlines()[-1])["message"] == f"{failure.reason}: {failure.message}"


def test_sigterm_ends_the_command_at_once_within_native_code(prepare_model):
    work = prepare_model.source(dense())
    with subprocess.Popen(command(work, prepare_model.request()), stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "importing TensorFlow" in line:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 128 + signal.SIGTERM
    assert not (work.bundle / "manifest.json").exists()


def test_a_model_that_keras_runs_differently_in_a_graph_is_rejected(prepare_model):
    """In Keras 3.15, the output of TimeDistributed in a graph has as many steps as rows if the length is free."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    tags = layers.TimeDistributed(layers.Dense(3))(layers.Embedding(10, 4)(ids))
    with pytest.raises(PrepareError, match=r"than the exported model: .* set a fixed shape for 'ids'") as failure:
        prepare_model(keras.Model(ids, tags))
    assert failure.value.reason == Reason.MODEL_UNSUPPORTED


def test_a_bundle_that_fails_the_warm_up_of_a_server_is_not_kept(prepare_model, monkeypatch):
    write_golden = golden.write_golden

    def write_others(bundle, inputs, outputs):
        write_golden(bundle, inputs, {name: array + 1 for name, array in outputs.items()})

    monkeypatch.setattr(golden, "write_golden", write_others)
    work = prepare_model.source(dense())
    with pytest.raises(PrepareError, match="fails a server's warm-up: output 'y' differs") as failure:
        prepare_model.run(work)
    assert failure.value.reason == Reason.PARITY_FAILED
    assert names_in(work.path) == ["source"]


def test_large_inputs_are_compared_on_few_rows(prepare_model):
    model = keras.Sequential([keras.Input((512, 512, 3)), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    prepared = prepare_model(model)
    assert prepared.manifest.model.parity.rows == 1 + 7 + 1
    assert (prepared.folder / "golden.npz").stat().st_size < 5 << 20
