"""A stored bundle is served without a prepare Job, unless the pods report it as damaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cluster.apiserver import ApiServer
from fault_source import FaultSource
from kube import Kube, wait_until
from kubelet import builtins
from model_fixture import ModelFixture
from operator_process import OperatorProcess
from store_process import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture(scope="module")
def operator(
    quiet_api_server: ApiServer, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """An operator that can reach the store."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess(quiet_api_server.kubeconfig, log, store_url=store.url) as process:
        yield process


@pytest.fixture
def model(quiet_api_server: ApiServer, operator: OperatorProcess) -> Iterator[ModelFixture]:
    """A model in a new namespace."""
    kube = Kube(quiet_api_server.kubeconfig)
    name = f"bundle-lookup-{kube.unique()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield ModelFixture(kube, name)
    kube.delete("kerasmodels", name, "digits")


def jobs(model: ModelFixture, revision: str) -> list[Any]:
    return model.kube.list("jobs", model.namespace, f"keras-operator.dev/revision={revision}")


def delete(model: ModelFixture) -> None:
    """Delete the model, and wait until its children are deleted, too."""
    model.kube.delete("kerasmodels", model.namespace, "digits")
    for plural in ("jobs", "deployments", "pods"):
        wait_until(lambda plural=plural: not model.kube.list(plural, model.namespace), f"no {plural}")


def test_a_recreated_model_is_served_from_the_store(
    model: ModelFixture, source: FaultSource, store: Store, operator: OperatorProcess
) -> None:
    revision = model.serve(source.url)
    manifest = store.put(model.namespace, revision)
    delete(model)
    requested, written = store.file_requests(), operator.metrics()["keras_operator_status_writes_total"]

    model.create(source.url)
    model.kubelet.make_servers_ready("digits")
    model.wait_for("Ready", "True", "Serving")

    assert jobs(model, revision) == []
    assert model.status()["model"] == builtins(manifest.model)
    assert model.status()["preparedRevision"] == revision
    assert store.file_requests() - requested == 1
    assert operator.metrics()["keras_operator_status_writes_total"] - written <= 4


def test_a_rollback_to_a_stored_bundle_needs_no_job(model: ModelFixture, source: FaultSource, store: Store) -> None:
    first = model.serve(source.url, serving={"runtime": "onnxruntime"})
    store.put(model.namespace, first)
    model.change(serving={"runtime": "auto"})
    second = model.kubelet.complete_prepare("digits")["metadata"]["labels"]["keras-operator.dev/revision"]
    model.kubelet.make_servers_ready("digits", 1, second)
    wait_until(lambda: not jobs(model, first), "the first Job to be deleted")

    model.change(serving={"runtime": "onnxruntime"})
    model.kubelet.make_servers_ready("digits", 1, first)
    wait_until(lambda: model.status()["servingRevision"] == first, "the first revision to be served")
    assert jobs(model, first) == []


def test_a_bundle_that_pods_report_as_damaged_is_prepared_again(
    model: ModelFixture, source: FaultSource, store: Store
) -> None:
    revision = model.serve(source.url)
    store.put(model.namespace, revision)
    delete(model)

    model.create(source.url)
    (pod,) = model.kubelet.server_pods("digits")
    assert jobs(model, revision) == []
    model.kubelet.report_lost_bundle(pod)
    model.kubelet.complete_prepare("digits", revision)
    model.kubelet.make_servers_ready("digits")
    model.wait_for("Ready", "True", "Serving")
