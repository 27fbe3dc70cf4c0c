"""A bundle that is in the store already: served without a prepare Job, unless the pods find it broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cluster.apiserver import ApiServer
from fault_source import Source
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
    """An operator that reaches the store."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess(quiet_api_server.kubeconfig, log, store_url=store.url) as process:
        yield process


@pytest.fixture
def scene(quiet_api_server: ApiServer, operator: OperatorProcess) -> Iterator[ModelFixture]:
    """A namespace of the test's own."""
    kube = Kube(quiet_api_server.kubeconfig)
    name = f"shelf-{kube.unique()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield ModelFixture(kube, name)
    kube.delete("kerasmodels", name, "digits")


def jobs(scene: ModelFixture, revision: str) -> list[Any]:
    return scene.kube.list("jobs", scene.namespace, f"keras-operator.dev/revision={revision}")


def delete(scene: ModelFixture) -> None:
    """Delete the model, and wait until its children are gone too."""
    scene.kube.delete("kerasmodels", scene.namespace, "digits")
    for plural in ("jobs", "deployments", "pods"):
        wait_until(lambda plural=plural: not scene.kube.list(plural, scene.namespace), f"no {plural}")


def test_a_model_made_again_is_served_from_the_store(
    scene: ModelFixture, source: Source, store: Store, operator: OperatorProcess
) -> None:
    revision = scene.serve(source.url)
    manifest = store.put(scene.namespace, revision)
    delete(scene)
    asked, written = store.questions(), operator.metrics()["keras_operator_status_writes_total"]

    scene.create(source.url)
    scene.kubelet.serves("digits")
    scene.wait_for("Ready", "True", "Serving")

    assert jobs(scene, revision) == []
    assert scene.status()["model"] == builtins(manifest.model)
    assert scene.status()["preparedRevision"] == revision
    assert store.questions() - asked == 1
    assert operator.metrics()["keras_operator_status_writes_total"] - written <= 4


def test_a_rollback_to_what_is_in_the_store_needs_no_job(scene: ModelFixture, source: Source, store: Store) -> None:
    first = scene.serve(source.url, serving={"runtime": "onnxruntime"})
    store.put(scene.namespace, first)
    scene.change(serving={"runtime": "auto"})
    second = scene.kubelet.prepares("digits")["metadata"]["labels"]["keras-operator.dev/revision"]
    scene.kubelet.serves("digits", 1, second)
    wait_until(lambda: not jobs(scene, first), "the first Job to be deleted")

    scene.change(serving={"runtime": "onnxruntime"})
    scene.kubelet.serves("digits", 1, first)
    wait_until(lambda: scene.status()["servingRevision"] == first, "the first revision to be served")
    assert jobs(scene, first) == []


def test_a_bundle_that_pods_find_broken_is_prepared_again(scene: ModelFixture, source: Source, store: Store) -> None:
    revision = scene.serve(source.url)
    store.put(scene.namespace, revision)
    delete(scene)

    scene.create(source.url)
    (pod,) = scene.kubelet.server_pods("digits")
    assert jobs(scene, revision) == []
    scene.kubelet.misses_its_bundle(pod)
    scene.kubelet.prepares("digits", revision)
    scene.kubelet.serves("digits")
    scene.wait_for("Ready", "True", "Serving")
