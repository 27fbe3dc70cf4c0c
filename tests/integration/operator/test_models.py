"""Models that cannot be served: the status of each, and that none of their code runs.

Every case is a KerasModel. The prepare step runs in the test's process, with the request of the applied Job. The test
reports its termination message as the kubelet does.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keras_pipeline import environment

environment.configure()  # before Keras is imported

import wrong_models as wrong  # noqa: E402
from kube import Kube, Object, wait_until  # noqa: E402
from model_fixture import ModelFixture  # noqa: E402
from operator_process import OperatorProcess  # noqa: E402
from running_pods import RunningPods  # noqa: E402

from keras_api.manifest import SourceRecord  # noqa: E402
from keras_api.step_report import encode_report  # noqa: E402
from keras_api.work_folder import WorkFolder  # noqa: E402
from keras_pipeline.__main__ import step_report  # noqa: E402
from keras_pipeline.errors import PrepareError  # noqa: E402
from keras_pipeline.inspection import ModelProperties  # noqa: E402
from keras_pipeline.loading import load_model  # noqa: E402
from keras_pipeline.model_file import ModelFile  # noqa: E402
from keras_pipeline.weights import Weights  # noqa: E402

# A warning within TensorFlow and tf2onnx.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

# A file that only the code of a model would create.
CANARY = Path(os.environ.get("TMPDIR", "/tmp"), f"canary-{os.getpid()}")
SAVE_AGAIN = "save the model again with model.save('name.keras')"
NO_MODEL = "set spec.source.uri to a file that model.save('name.keras') wrote"


@dataclass(frozen=True)
class Case:
    """A model that cannot be served: how to make its file, and the expected message in the status.

    `late` marks a cause that only Keras can find. All others must be found before TensorFlow is imported.
    """

    make: Callable[[], bytes]
    reason: str
    message: list[str]
    suffix: str = ".keras"
    late: bool = False
    csv: bytes | None = None
    spec: Object = field(default_factory=dict)


def dense(**changes: Any) -> Callable[[], bytes]:
    """A small valid model with changes."""
    return lambda: wrong.changed(wrong.saved(wrong.dense()), **changes)


def activation(module: str, name: str) -> Object:
    """A reference to a function as Keras writes it."""
    return {"activation": {"module": module, "class_name": "function", "config": name, "registered_name": name}}


def unreadable(make: Callable[[], bytes], *message: str, **more: Any) -> Case:
    return Case(make, "ModelUnreadable", list(message), **more)


def unsafe(make: Callable[[], bytes], *message: str, **more: Any) -> Case:
    return Case(make, "ModelUnsafe", list(message), **more)


def unsupported(make: Callable[[], bytes], *message: str, **more: Any) -> Case:
    return Case(make, "ModelUnsupported", list(message), **more)


def rows(make: Callable[[], bytes], reason: str, csv: bytes, *message: str, **validation: Any) -> Case:
    spec = {"validation": {"data": "pvc://models/rows.csv", **validation}}
    return Case(make, reason, list(message), late=True, csv=csv, spec=spec)


def given(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def sound() -> bytes:
    return wrong.saved(wrong.dense())


def legacy() -> bytes:
    return wrong.saved(wrong.dense(), ".h5")


CASES: dict[str, Case] = {
    # Not an archive, or an incomplete one
    "a truncated archive": unreadable(lambda: sound()[:4000], "its 4,000 bytes end before", "the upload is incomplete"),
    "a truncated .h5": unreadable(lambda: legacy()[:4000], "truncated", SAVE_AGAIN, suffix=".h5"),
    "an HTML page": unreadable(given(b"<!DOCTYPE html><html>Sign in</html>"), "an HTML page (a login", NO_MODEL),
    "an error message of the storage": unreadable(given(b"<?xml version='1.0'?><Error/>"), "an XML document", NO_MODEL),
    "a zip of something else": unreadable(
        lambda: wrong.zipped(readme=b""), "a zip archive without config.json", SAVE_AGAIN
    ),
    "a tar archive": unreadable(lambda: wrong.tar(sound()), "a tar archive (unpack it)", NO_MODEL),
    "a gzip file": unreadable(lambda: wrong.gzipped(sound()), "a gzip file (unpack it)", NO_MODEL),
    "an image": unreadable(wrong.png, "a PNG image", NO_MODEL),
    "a safetensors file": unreadable(wrong.safetensors, "a safetensors file", NO_MODEL),
    "a Git LFS pointer": unreadable(given(b"version https://git-lfs.github.com/spec/v1\n"), "was not pulled", NO_MODEL),
    "a pickle": unreadable(lambda: wrong.pickled(CANARY), "a Python pickle", NO_MODEL),
    "an empty file": unreadable(given(b""), "it is an empty file", NO_MODEL),
    "a log": unreadable(given(b"epoch,loss\n1,0.5\n"), "a plain text file", NO_MODEL),
    "a zipped SavedModel": unreadable(lambda: wrong.zipped(m__saved_model_pb=b""), "a zipped SavedModel", NO_MODEL),
    "a legacy file called .keras": unreadable(
        legacy, "an HDF5 file (the legacy format)", "its address must end in .h5"
    ),
    "an archive called .h5": unreadable(sound, "the .keras format", "its address must end in .keras", suffix=".h5"),
    "no weights": unreadable(dense(without=wrong.WEIGHTS), "does not contain model.weights.h5", SAVE_AGAIN),
    "no weights in a .h5": unreadable(
        lambda: wrong.without_weights(legacy()), "does not contain weights", SAVE_AGAIN, suffix=".h5"
    ),
    "a layer's weights missing": unreadable(
        dense(weights=wrong.no_kernel), "the weights of layer 'y' are missing", SAVE_AGAIN, late=True
    ),
    "weights of another shape": unreadable(
        dense(weights=wrong.another_shape), "the weights of layer 'y'", "do not have the shape", SAVE_AGAIN, late=True
    ),
    # Malicious files
    "a path out of the archive": unsafe(
        dense(extra=((f"assets/../../..{CANARY}", b""),)), str(CANARY), "outside its folder"
    ),
    "a zip bomb as the configuration": unsafe(
        dense(config=lambda config: {**config, "x": " " * (100 << 20)}, compression=wrong.DEFLATED),
        "'config.json' of 102,",
        "would unpack to 104,8",
    ),
    "a zip bomb of assets": unsafe(
        dense(extra=tuple((f"assets/{i}", bytes(1 << 20)) for i in range(1100)), compression=wrong.DEFLATED),
        "its assets would unpack to 1,153,433,600 bytes",
    ),
    "a billion units": unsafe(
        dense(config=wrong.last_layer_config(units=10**9)), "declare at least 4,000,000,000 weights", "it stores 10"
    ),
    "a billion values per row": unsafe(
        dense(config=wrong.input_shape(None, 10**9)), "input 'x' takes 1,000,000,000 values per row", "a smaller shape"
    ),
    "a layer with a huge output": unsafe(
        lambda: wrong.saved(wrong.swelling()),
        "layer 'swell' produces 4,000,016,000,016 values per row",
        "make its output smaller",
        late=True,
    ),
    "a Lambda": unsafe(
        lambda: wrong.saved(wrong.lambda_layer(CANARY)), "layer 'plus' is a Lambda", "a built-in layer or keras.ops"
    ),
    "a Lambda in a .h5": unsafe(
        lambda: wrong.saved(wrong.lambda_layer(CANARY), ".h5"), "layer 'plus' is a Lambda", "keras.ops", suffix=".h5"
    ),
    "a lambda as activation": unsafe(
        lambda: wrong.saved(wrong.lambda_activation(CANARY)), "layer 'y' contains a Python lambda", "built-in function"
    ),
    "another SavedModel": unsafe(
        dense(config=wrong.last_layer(class_name="TFSMLayer")), "layer 'y' is a TFSMLayer", "Rebuild the model"
    ),
    "a vocabulary that is a system file": unsafe(
        dense(
            config=wrong.last_layer(class_name="StringLookup", config={"name": "words", "vocabulary": "/etc/passwd"})
        ),
        "layer 'words' reads its vocabulary from '/etc/passwd'",
        "set the vocabulary as a list",
    ),
    "a class of os": unsafe(
        dense(config=wrong.last_layer(module="os", class_name="system", config=f"touch {CANARY}")),
        "'os.system', which is not part of a model",
        "find out who created the file",
    ),
    "a function of os": unsafe(
        dense(config=wrong.last_layer_config(**activation("os", "system"))),
        "layer 'y' refers to 'os.system'",
        "find out",
    ),
    "a class of builtins": unsafe(
        dense(config=wrong.last_layer(module="builtins", class_name="exec", config=f"open('{CANARY}', 'w')")),
        "'builtins.exec', which is not part of a model",
        "find out who created the file",
    ),
    "a switch of Keras's": unsafe(
        dense(config=wrong.last_layer_config(**activation("keras.config", "enable_unsafe_deserialization"))),
        "layer 'y' refers to 'keras.config.enable_unsafe_deserialization'",
    ),
    "a download": unsafe(
        dense(config=wrong.last_layer_config(**activation("keras.utils", "get_file"))), "'keras.utils.get_file'"
    ),
    "a link to another file": unsafe(
        dense(weights=wrong.link_to_another_file), "/layers/dense/vars/2 are a link", SAVE_AGAIN
    ),
    "data of another file": unsafe(
        dense(weights=wrong.data_of_another_file), "/layers/dense/vars/2 are stored in another file", SAVE_AGAIN
    ),
    # Valid files that cannot be served
    "a custom layer without its code": unsupported(
        lambda: wrong.saved(wrong.with_layer(wrong.Doubled(name="twice"))),
        "'acme>Doubled' (layer 'twice')",
        "does not contain their code",
        "set spec.source.customObjects.configMapRef",
    ),
    "NaN that no synthetic input finds": unsupported(
        lambda: wrong.changed(wrong.saved(wrong.embedding()), weights=wrong.nan_that_no_synthetic_input_finds),
        "weights of layer 'words' are NaN",
        "train the model again",
    ),
    "a layer of a newer Keras": unsupported(
        dense(metadata={"keras_version": "9.1.0"}, config=wrong.last_layer(class_name="Denser")),
        "layer 'y' needs the class 'Denser', which Keras 3.15.1 does not have (saved by Keras 9.1.0)",
        "load the weights of this file into it (model.load_weights)",
        "or upgrade the operator",
        late=True,
    ),
    "an option of a newer Keras": unsupported(
        dense(metadata={"keras_version": "9.1.0"}, config=wrong.last_layer_config(sparkle=1)),
        "Keras 3.15.1 cannot load the model (saved by Keras 9.1.0)",
        "sparkle",
        "load the weights of this file into it (model.load_weights)",
        "or upgrade the operator",
        late=True,
    ),
    "no inputs": unsupported(
        lambda: wrong.saved(wrong.unbuilt()), "does not declare its inputs", "add a keras.Input", late=True
    ),
    "a state that outlives a request": unsupported(
        dense(config=wrong.last_layer_config(stateful=True)), "layer 'y' has stateful=True", "stateful=False"
    ),
    "JAX": unsupported(dense(config=wrong.last_layer(class_name="JaxLayer")), "layer 'y' is a JaxLayer", "Rebuild it"),
    "an operation that ONNX lacks, without fallback": Case(
        lambda: wrong.saved(wrong.text()),
        "ConversionFailed",
        ["onnxruntime: ONNX Runtime cannot open the model", "no operation", "spec.serving.runtime to auto"],
        late=True,
        spec={"serving": {"runtime": "onnxruntime"}},
    ),
    "outputs that differ, without fallback": Case(
        lambda: wrong.saved(wrong.chaos()),
        "ParityFailed",
        [
            "onnxruntime: output 'y' differs by up to ",
            "rtol 0.001, atol 1e-05",
            "argmax agreement",
            "spec.serving.runtime to auto",
        ],
        late=True,
        spec={"serving": {"runtime": "onnxruntime"}},
    ),
    # Validation
    "a model below its bound": rows(
        lambda: wrong.saved(wrong.identity()),
        "ValidationFailed",
        b"label,a,b,c\n0,9,1,1\n1,1,9,1\n2,9,1,1\n2,1,1,9\n",
        "accuracy is 0.75 on 4 rows, below the required 0.9",
        "serve a better model, or change spec.validation.require",
        require=[{"metric": "accuracy", "min": "0.9"}],
    ),
    "rows without the label": rows(
        sound,
        "ValidationDataInvalid",
        b"a,b,c,d,target\n1,2,3,4,0\n",
        "it has no column 'label' (its columns: 'a', 'b', 'c', 'd', 'target')",
        "set spec.validation.label",
    ),
    "rows of another width": rows(
        sound,
        "ValidationDataInvalid",
        b"label,a,b\n0,1,2\n",
        "input 'x' takes rows of shape [4]",
        "2 columns for it",
        "one column for each value",
    ),
    "a row with a word": rows(
        sound,
        "ValidationDataInvalid",
        b"label,a,b,c,d\n0,1,2,3,four\n",
        "row 1, column 'd': 'four' is not a finite",
        "correct the value",
    ),
    "a login page for rows": rows(
        sound, "ValidationDataInvalid", b"<!DOCTYPE html><html>Sign in", "it is an HTML page", "spec.validation.data"
    ),
}


@dataclass(frozen=True)
class Outcome:
    """The status of a model, the log of the step, the revision that was served before, and the results of a client."""

    status: Object
    log: str
    served: str
    answers: int
    failed_request: str

    def condition(self, kind: str) -> Object:
        return next(each for each in self.status["conditions"] if each["type"] == kind)


@dataclass
class Preparer:
    """Acts for fetch and the kubelet, and runs the prepare step."""

    kube: Kube
    namespace: str
    folder: Path

    def create(self, name: str, **spec: Any) -> ModelFixture:
        scene = ModelFixture(self.kube, self.namespace, name)
        scene.create(f"pvc://models/{name}.keras", **spec)
        return scene

    def prepare(self, scene: ModelFixture, data: bytes, suffix: str, csv: bytes | None) -> str:
        """Run the step with the request of the Job. Returns its log."""
        pod = scene.kubelet.prepare_pod(scene.name)
        command = [word.replace("$$", "$") for word in pod["spec"]["initContainers"][1]["command"]]
        request = command[command.index("--request") + 1]
        work = WorkFolder(self.folder / scene.name)
        work.source.mkdir(parents=True)
        work.model(suffix).write_bytes(data)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        record = SourceRecord(uri="pvc://models/m", fingerprint="pvc", digest=digest, size_bytes=len(data))
        work.record.write_bytes(msgspec.json.encode(record))
        if csv is not None:
            work.validation.write_bytes(csv)
        with logged("keras_pipeline") as log:
            report = step_report(request, work.path)
        message = encode_report(report).decode()
        scene.kubelet.end_container(scene.name, "prepare", 0 if report.failure is None else 1, message)
        return log.getvalue()


@contextlib.contextmanager
def logged(name: str) -> Iterator[io.StringIO]:
    """The messages of a logger, one a line."""
    log = io.StringIO()
    handler, logger = logging.StreamHandler(log), logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield log
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.fixture(scope="module")
def preparer(kube: Kube, operator: OperatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preparer]:
    namespace = f"wrong-models-{kube.unique()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    yield Preparer(kube, namespace, tmp_path_factory.mktemp("work"))
    for model in kube.list("kerasmodels", namespace):
        kube.delete("kerasmodels", namespace, model["metadata"]["name"])


@pytest.fixture(scope="module")
def outcomes(preparer: Preparer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The outcome of every case. A valid model is served before, and a client sends it requests throughout."""
    scenes = {what: preparer.create(f"model-{number}") for number, what in enumerate(CASES)}
    running = RunningPods(preparer.kube, preparer.namespace, tmp_path_factory.mktemp("pods"))
    for scene in scenes.values():
        scene.kubelet.complete_prepare(scene.name)
    for scene in scenes.values():
        for pod in scene.kubelet.make_servers_ready(scene.name):
            running.start(pod)
    made = {what: case.make() for what, case in CASES.items()}
    CANARY.unlink(missing_ok=True)
    with running:
        asked = running.wait_for_answers()
        served = {}
        for what, scene in scenes.items():
            scene.wait_for("Ready", "True")
            served[what] = scene.status()["servingRevision"]
            scene.change(source={"uri": f"pvc://models/wrong{CASES[what].suffix}"}, **CASES[what].spec)
        logs = {
            what: preparer.prepare(scene, made[what], CASES[what].suffix, CASES[what].csv)
            for what, scene in scenes.items()
        }
        status = {}
        for what, scene in scenes.items():
            with contextlib.suppress(AssertionError):  # only the test of this case will fail
                wait_until(partial(_failed, scene), f"{scene.name} to fail")
            status[what] = scene.status()
        answers = running.wait_for_answers() - asked
    return {
        what: Outcome(status[what], logs[what], served[what], answers[scene.name], running.failures.get(scene.name, ""))
        for what, scene in scenes.items()
    }


def _failed(scene: ModelFixture) -> bool:
    return bool(scene.status().get("lastFailure")) and scene.condition("Ready").get("reason") != "Preparing"


@pytest.mark.parametrize("what", CASES)
def test_the_status_contains_cause_and_remedy_of_a_rejected_model(outcomes: dict[str, Outcome], what: str) -> None:
    case, ready = CASES[what], outcomes[what].condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", case.reason), ready["message"]
    assert [words for words in case.message if words not in ready["message"]] == [], ready["message"]
    assert outcomes[what].status["lastFailure"]["message"] == ready["message"], outcomes[what].log


@pytest.mark.parametrize("what", CASES)
def test_a_rejected_model_is_stalled(outcomes: dict[str, Outcome], what: str) -> None:
    assert outcomes[what].condition("Stalled")["status"] == "True"


@pytest.mark.parametrize("what", CASES)
def test_the_served_revision_answers_while_a_model_is_rejected(outcomes: dict[str, Outcome], what: str) -> None:
    found = outcomes[what]
    assert found.condition("Available")["status"] == "True"
    assert (found.status["servingRevision"], found.status["readyReplicas"]) == (found.served, 1)
    assert found.status["desiredRevision"] != found.served
    assert (found.failed_request, found.answers > 0) == ("", True)


@pytest.mark.parametrize("what", [what for what, case in CASES.items() if not case.late])
def test_a_cause_that_needs_no_keras_is_found_before_tensorflow_is_imported(
    outcomes: dict[str, Outcome], what: str
) -> None:
    assert "reading model" in outcomes[what].log
    assert "importing TensorFlow" not in outcomes[what].log


@pytest.mark.parametrize("what", CASES)
def test_no_message_contains_python_internals(outcomes: dict[str, Outcome], what: str) -> None:
    message = outcomes[what].condition("Ready")["message"]
    assert [sign for sign in ("Traceback", "Error", "<class", " object at ", "<Dense") if sign in message] == []


def test_no_code_of_a_model_runs(outcomes: dict[str, Outcome]) -> None:
    assert outcomes
    assert not CANARY.exists()


ARMED: dict[str, tuple[Callable[[], bytes], str]] = {
    "a Lambda": (lambda: wrong.saved(wrong.lambda_layer(CANARY)), ".keras"),
    "a Lambda in a .h5": (lambda: wrong.saved(wrong.lambda_layer(CANARY), ".h5"), ".h5"),
    "a lambda as activation": (lambda: wrong.saved(wrong.lambda_activation(CANARY)), ".keras"),
    "a class of os": (CASES["a class of os"].make, ".keras"),
    "a function of os": (CASES["a function of os"].make, ".keras"),
    "a class of builtins": (CASES["a class of builtins"].make, ".keras"),
    "a switch of Keras's": (CASES["a switch of Keras's"].make, ".keras"),
    "a pickle": (CASES["a pickle"].make, ".keras"),
}


@pytest.mark.parametrize(("make", "suffix"), ARMED.values(), ids=ARMED)
def test_keras_does_not_run_code_that_the_inspection_would_miss(
    make: Callable[[], bytes], suffix: str, tmp_path: Path
) -> None:
    """The second barrier: the safe mode of Keras."""
    file = tmp_path / f"model{suffix}"
    file.write_bytes(make())
    CANARY.unlink(missing_ok=True)
    unchecked = ModelFile("h5" if suffix == ".h5" else "keras", "3.15.1", {}, Weights(0, 0))
    with pytest.raises(PrepareError):
        load_model(file, unchecked, ModelProperties("3.15.1", 0, False, False, {}), {})
    assert not CANARY.exists()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (wrong.text, ["ONNX Runtime cannot open the model", "no operation"]),
        (
            wrong.chaos,
            ["output 'y' differs by up to ", "atol 1e-05 of the output's magnitude allow", "largest difference"],
        ),
    ],
    ids=["a model that no converter supports", "outputs beyond the tolerance"],
)
def test_the_status_contains_why_tensorflow_serves_a_model_and_not_onnx_runtime(
    preparer: Preparer, make: Callable[[], Any], why: list[str]
) -> None:
    scene = preparer.create(f"by-tensorflow-{make.__name__}")
    preparer.prepare(scene, wrong.saved(make()), ".keras", None)
    scene.wait_for("ModelPrepared", "True")
    model = scene.status()["model"]
    assert model["runtime"] == "tensorflow"
    (rejected,) = model["notTaken"]
    assert rejected["runtime"] == "onnxruntime"
    assert [words for words in why if words not in rejected["reason"]] == [], rejected["reason"]
    assert float(model["parity"]["maxAbsError"]) < 1e-5  # the figure of TensorFlow, not that of ONNX Runtime


def test_the_container_that_opens_the_model_file_has_no_credentials(preparer: Preparer) -> None:
    source = {"secretRef": {"name": "reader"}}
    name = "armed"
    scene = ModelFixture(preparer.kube, preparer.namespace, name)
    metadata = {"name": "reader", "namespace": preparer.namespace}
    preparer.kube.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"HTTP_BEARER_TOKEN": "t"}}
    )
    scene.create("pvc://models/armed.keras", source=source)
    pod = scene.kubelet.prepare_pod(name)["spec"]
    fetch, prepare = pod["initContainers"]
    assert pod["automountServiceAccountToken"] is False
    assert fetch["envFrom"] == [{"secretRef": {"name": "reader"}}]  # fetch has the credentials, prepare has not:
    assert "envFrom" not in prepare
    assert [each["name"] for each in prepare["env"]] == ["HOME"]
    assert sorted(mount["name"] for mount in prepare["volumeMounts"]) == ["tmp", "work"]
    volumes = {each["name"]: set(each) - {"name"} for each in pod["volumes"]}
    assert (volumes["tmp"], volumes["work"]) == ({"emptyDir"}, {"emptyDir"})
