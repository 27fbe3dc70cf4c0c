"""Failures of the store: the real programs of the pods run against a real store, and status reports the failures."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.apiserver import ApiServer
from cluster.ports import Port
from fault_source import FaultSource
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess
from store_process import Store, make_bundle, run

from keras_api.reasons import Reason
from keras_api.step_report import StepReport, encode_report

FILES = {"model.onnx": b"onnx" * 1000, "golden.npz": b"golden"}


@pytest.fixture
def unresponsive_store() -> Iterator[str]:
    """A store that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as store:
        yield store


@pytest.fixture
def operator(quiet_api_server: ApiServer, store: Store, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that can reach the store."""
    log = tmp_path / "operator.log"
    with OperatorProcess(quiet_api_server.kubeconfig, log, store_url=store.url) as process:
        yield process


@pytest.fixture
def model(quiet_api_server: ApiServer, operator: OperatorProcess) -> Iterator[ModelFixture]:
    """A model in a new namespace."""
    kube = Kube(quiet_api_server.kubeconfig)
    name = f"store-{kube.unique()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield ModelFixture(kube, name)
    kube.delete("kerasmodels", name, "digits")


def fetch_container(pod: Object) -> Object:
    return next(each for each in pod["spec"]["initContainers"] if each["name"] == "fetch")


def put_container(pod: Object) -> Object:
    return next(each for each in pod["spec"]["containers"] if each["name"] == "put")


def run_failing(container: Object, folder: Path, **replaced: str) -> StepReport:
    """Run a program that must exit with a failure report. Returns the report."""
    code, report = run(container, folder, **replaced)
    assert code == 1
    assert report is not None
    return report


def run_failing_server(pod: Object, folder: Path, **replaced: str) -> StepReport:
    """Run a pod's server, which must exit with a failure report before it is ready. Returns the report."""
    server = next(each for each in pod["spec"]["containers"] if each["name"] == "server")
    port = Port()
    return run_failing(server, folder, bundle=str(folder / "bundle"), port=str(port.number), **replaced)


def prepare(model: ModelFixture, work: Path, revision: str = "") -> str:
    """Prepare the desired revision, with the real fetch and put."""
    pod = model.kubelet.prepare_pod("digits", revision)
    revision = pod["metadata"]["labels"]["keras-operator.dev/revision"]
    code, report = run(fetch_container(pod), work.parent, work=str(work))
    assert code == 0
    assert report is not None, "fetch found the bundle in the store"
    assert report.fetched_bytes == (work / "source/model.keras").stat().st_size
    make_bundle(work / "bundle", revision, FILES)
    assert run(put_container(pod), work.parent, work=str(work)) == (0, None)
    model.kubelet.complete_prepare("digits", revision)
    return revision


def is_serving(model: ModelFixture, revision: str) -> bool:
    return model.condition("Available")["status"] == "True" and model.status()["servingRevision"] == revision


def test_an_upload_timeout_is_reported_while_the_old_revision_is_served(
    model: ModelFixture, source: FaultSource, unresponsive_store: str, tmp_path: Path
) -> None:
    first = model.serve(source.url)
    model.change(serving={"runtime": "onnxruntime"})
    second = wait_until(lambda: (found := model.status()["desiredRevision"]) != first and found, "the next revision")
    pod = model.kubelet.prepare_pod("digits", second)
    (tmp_path / "work/source").mkdir(parents=True)
    make_bundle(tmp_path / "work/bundle", second, FILES)

    report = run_failing(put_container(pod), tmp_path, work=str(tmp_path / "work"), store=unresponsive_store)
    assert report.failure is not None
    model.kubelet.end_container("digits", "put", 1, encode_report(report).decode(), second)

    ready = model.wait_for("Ready", "False", "StoreUnavailable")
    assert (
        f"{unresponsive_store}/{model.namespace}/digits/{second}/manifest.json: no answer in time" in ready["message"]
    )
    assert "no data for" in ready["message"]
    assert "check the store, its volume and the network" in ready["message"]
    assert model.status()["lastFailure"]["step"] == "prepare"
    assert model.condition("Reconciling")["status"] == "True"
    assert is_serving(model, first)

    prepare(model, tmp_path / "again", second)  # after the pause
    model.kubelet.make_servers_ready("digits", 1, second)
    model.wait_for("Ready", "True", "Serving")


def test_a_download_timeout_is_reported_until_the_server_has_its_bundle(
    model: ModelFixture, source: FaultSource, unresponsive_store: str, tmp_path: Path
) -> None:
    first = model.serve(source.url)
    model.change(serving={"replicas": 2})
    pod = next(each for each in model.kubelet.server_pods("digits", 2) if each["status"]["phase"] == "Pending")
    report = run_failing_server(pod, tmp_path, store=unresponsive_store)

    model.kubelet.end_server(pod, report)
    ready = model.wait_for("Ready", "False", "StoreUnavailable")
    assert f"{unresponsive_store}/{model.namespace}/digits/{first}/manifest.json: no answer in time" in ready["message"]
    assert "models that are being served are not affected" in ready["message"]
    assert model.status()["lastFailure"]["step"] == "serve"
    assert is_serving(model, first)

    # A restart by the kubelet does not mean that the store is available again.
    model.kubelet.restart_server(pod, report)
    time.sleep(1)
    assert model.condition("Ready") == ready
    model.kubelet.make_ready(pod)
    model.wait_for("Ready", "True", "Serving")


@pytest.mark.parametrize("lost", ["model.onnx", "golden.npz"])
def test_a_bundle_that_lost_a_file_is_reported_and_repaired(
    model: ModelFixture, source: FaultSource, store: Store, tmp_path: Path, lost: str
) -> None:
    model.create(source.url, serving={"replicas": 2})
    revision = prepare(model, tmp_path / "first")
    pods = model.kubelet.make_servers_ready("digits", 2)
    model.wait_for("Ready", "True", "Serving")
    stored = store.data / model.namespace / "digits" / revision
    (stored / lost).unlink()
    time.sleep(1.1)  # times in Kubernetes are whole seconds: the loss must come after the Job's end

    model.kube.delete("pods", model.namespace, pods[0]["metadata"]["name"])
    old = {pod["metadata"]["uid"] for pod in pods}
    pod = wait_until(
        lambda: next(
            (each for each in model.kubelet.server_pods("digits", 2) if each["metadata"]["uid"] not in old), None
        ),
        "another pod",
    )
    report = run_failing_server(pod, tmp_path)
    assert report.failure is not None
    assert report.failure.reason is Reason.BUNDLE_INVALID
    model.kubelet.end_server(pod, report)

    ready = model.wait_for("Ready", "False", "BundleInvalid")
    assert f"/{model.namespace}/digits/{revision}/{lost}" in ready["message"]
    assert "the operator prepares it again" in ready["message"]
    assert model.status()["lastFailure"]["reason"] == "BundleInvalid"
    assert is_serving(model, revision)

    assert prepare(model, tmp_path / "again") == revision
    assert (stored / lost).read_bytes() == FILES[lost]
    model.kubelet.make_ready(pod)
    model.wait_for("Ready", "True", "Serving")
