"""What the store does to a model: its pods' real programs meet a real store, and status tells how they fare."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.apiserver import ApiServer
from cluster.ports import Port
from fault_source import Source
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess
from store_process import Store, make_bundle, run

from keras_api.reasons import Reason
from keras_api.step_report import StepReport, encode_report

FILES = {"model.onnx": b"onnx" * 1000, "golden.npz": b"golden"}


@pytest.fixture
def silent_store() -> Iterator[str]:
    """A store that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as store:
        yield store


@pytest.fixture
def operator(quiet_api_server: ApiServer, store: Store, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that reaches the store."""
    log = tmp_path / "operator.log"
    with OperatorProcess(quiet_api_server.kubeconfig, log, store_url=store.url) as process:
        yield process


@pytest.fixture
def scene(quiet_api_server: ApiServer, operator: OperatorProcess) -> Iterator[ModelFixture]:
    """A namespace of the test's own."""
    kube = Kube(quiet_api_server.kubeconfig)
    name = f"store-{kube.unique()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield ModelFixture(kube, name)
    kube.delete("kerasmodels", name, "digits")


def fetch_container(pod: Object) -> Object:
    return next(each for each in pod["spec"]["initContainers"] if each["name"] == "fetch")


def put_container(pod: Object) -> Object:
    return next(each for each in pod["spec"]["containers"] if each["name"] == "put")


def ends_badly(container: Object, folder: Path, **replaced: str) -> StepReport:
    """A program ends with a report of failure."""
    code, report = run(container, folder, **replaced)
    assert code == 1
    assert report is not None
    return report


def server_ends_badly(pod: Object, folder: Path, **replaced: str) -> StepReport:
    """A pod's server ends with a report of failure, without ever having been ready."""
    server = next(each for each in pod["spec"]["containers"] if each["name"] == "server")
    port = Port()
    return ends_badly(server, folder, bundle=str(folder / "bundle"), port=str(port.number), **replaced)


def prepare(scene: ModelFixture, work: Path, revision: str = "") -> str:
    """Prepare the wanted revision, with the real fetch and put."""
    pod = scene.kubelet.prepare_pod("digits", revision)
    revision = pod["metadata"]["labels"]["keras-operator.dev/revision"]
    code, report = run(fetch_container(pod), work.parent, work=str(work))
    assert code == 0
    assert report is not None, "fetch found the bundle in the store"
    assert report.fetched_bytes == (work / "source/model.keras").stat().st_size
    make_bundle(work / "bundle", revision, FILES)
    assert run(put_container(pod), work.parent, work=str(work)) == (0, None)
    scene.kubelet.prepares("digits", revision)
    return revision


def still_serves(scene: ModelFixture, revision: str) -> bool:
    return scene.condition("Available")["status"] == "True" and scene.status()["servingRevision"] == revision


def test_a_put_that_hangs_is_told_while_the_old_revision_serves(
    scene: ModelFixture, source: Source, silent_store: str, tmp_path: Path
) -> None:
    first = scene.serve(source.url)
    scene.change(serving={"runtime": "onnxruntime"})
    second = wait_until(lambda: (found := scene.status()["desiredRevision"]) != first and found, "the next revision")
    pod = scene.kubelet.prepare_pod("digits", second)
    (tmp_path / "work/source").mkdir(parents=True)
    make_bundle(tmp_path / "work/bundle", second, FILES)

    report = ends_badly(put_container(pod), tmp_path, work=str(tmp_path / "work"), store=silent_store)
    assert report.failure is not None
    scene.kubelet.hands_over("digits", "put", 1, encode_report(report).decode(), second)

    ready = scene.wait_for("Ready", "False", "StoreUnavailable")
    assert f"{silent_store}/{scene.namespace}/digits/{second}/manifest.json: no answer in time" in ready["message"]
    assert "no data for" in ready["message"]
    assert "check the store, its volume and the network" in ready["message"]
    assert scene.status()["lastFailure"]["step"] == "prepare"
    assert scene.condition("Reconciling")["status"] == "True"
    assert still_serves(scene, first)

    prepare(scene, tmp_path / "again", second)  # after the pause
    scene.kubelet.serves("digits", 1, second)
    scene.wait_for("Ready", "True", "Serving")


def test_a_download_that_hangs_is_told_until_the_server_has_its_bundle(
    scene: ModelFixture, source: Source, silent_store: str, tmp_path: Path
) -> None:
    first = scene.serve(source.url)
    scene.change(serving={"replicas": 2})
    pod = next(each for each in scene.kubelet.server_pods("digits", 2) if each["status"]["phase"] == "Pending")
    report = server_ends_badly(pod, tmp_path, store=silent_store)

    scene.kubelet.ends_serving(pod, report)
    ready = scene.wait_for("Ready", "False", "StoreUnavailable")
    assert f"{silent_store}/{scene.namespace}/digits/{first}/manifest.json: no answer in time" in ready["message"]
    assert "what is served already is not affected" in ready["message"]
    assert scene.status()["lastFailure"]["step"] == "serve"
    assert still_serves(scene, first)

    # The kubelet starts it again, which does not mean that the store is back.
    scene.kubelet.serves_again(pod, report)
    time.sleep(1)
    assert scene.condition("Ready") == ready
    scene.kubelet.turns_ready(pod)
    scene.wait_for("Ready", "True", "Serving")


@pytest.mark.parametrize("lost", ["model.onnx", "golden.npz"])
def test_a_bundle_that_lost_a_file_is_told_and_repaired(
    scene: ModelFixture, source: Source, store: Store, tmp_path: Path, lost: str
) -> None:
    scene.create(source.url, serving={"replicas": 2})
    revision = prepare(scene, tmp_path / "first")
    pods = scene.kubelet.serves("digits", 2)
    scene.wait_for("Ready", "True", "Serving")
    stored = store.data / scene.namespace / "digits" / revision
    (stored / lost).unlink()
    time.sleep(1.1)  # times in Kubernetes are whole seconds: the loss must come after the Job's end

    scene.kube.delete("pods", scene.namespace, pods[0]["metadata"]["name"])
    old = {pod["metadata"]["uid"] for pod in pods}
    pod = wait_until(
        lambda: next(
            (each for each in scene.kubelet.server_pods("digits", 2) if each["metadata"]["uid"] not in old), None
        ),
        "another pod",
    )
    report = server_ends_badly(pod, tmp_path)
    assert report.failure is not None
    assert report.failure.reason is Reason.BUNDLE_INVALID
    scene.kubelet.ends_serving(pod, report)

    ready = scene.wait_for("Ready", "False", "BundleInvalid")
    assert f"/{scene.namespace}/digits/{revision}/{lost}" in ready["message"]
    assert "the operator prepares it again" in ready["message"]
    assert scene.status()["lastFailure"]["reason"] == "BundleInvalid"
    assert still_serves(scene, revision)

    assert prepare(scene, tmp_path / "again") == revision
    assert (stored / lost).read_bytes() == FILES[lost]
    scene.kubelet.turns_ready(pod)
    scene.wait_for("Ready", "True", "Serving")
