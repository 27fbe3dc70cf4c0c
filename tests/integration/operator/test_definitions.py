"""Definitions (CRDs) that go away and come again while the operator is at work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.apiserver import SERVICE_MONITOR_CRD, ApiServer
from fault_source import Source
from kube import Kube, KubeError, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

from keras_api.crd import custom_resource_definition
from keras_store.sources.registry import SCHEMES


@pytest.fixture
def operator(own_api: ApiServer, tmp_path: Path) -> Iterator[OperatorProcess]:
    operator = OperatorProcess(own_api.kubeconfig, tmp_path / "log", resync_interval="10s")
    with operator, operator.begun_again():
        yield operator


@pytest.fixture
def scene(own_kube: Kube, operator: OperatorProcess) -> ModelFixture:
    own_kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}})
    return ModelFixture(own_kube, "team-a")


def _install(kube: Kube, definition: Object) -> None:
    """Create a definition, once the one before it is gone."""

    def created() -> bool:
        try:
            kube.create(definition)
        except KubeError as error:
            if error.status == 409:
                return False
            raise
        return True

    wait_until(created, "the definition before to be gone")


def test_models_are_served_again_when_their_definition_is_back(
    scene: ModelFixture, source: Source, operator: OperatorProcess
) -> None:
    scene.serve(source.url)
    scene.kube.delete_crd("kerasmodels.keras-operator.dev")
    wait_until(lambda: scene.child("deployments") is None, "the children to be collected", timeout=60)

    _install(scene.kube, custom_resource_definition(SCHEMES))
    wait_until(lambda: scene.kube.serves("/apis/keras-operator.dev/v1alpha1"), "the definition to be served")
    scene.serve(source.url)
    scene.kube.delete("services", scene.namespace, "digits")
    scene.wait_for_child("services")


def test_service_monitors_are_put_back_however_often_their_definition_comes(
    scene: ModelFixture, source: Source, operator: OperatorProcess
) -> None:
    scene.serve(source.url)
    for _ in range(4):
        _install(scene.kube, SERVICE_MONITOR_CRD)
        scene.wait_for("MonitoringReady", "True", "ServiceMonitorApplied")
        theirs = {"spec": {"endpoints": [{"port": "theirs"}]}}
        scene.kube.patch("servicemonitors", scene.namespace, "digits", theirs)
        wait_until(
            lambda: scene.wait_for_child("servicemonitors")["spec"]["endpoints"][0]["port"] == "http",
            "the change to be put back, by the next listing at the latest",
        )
        scene.kube.delete_crd("servicemonitors.monitoring.coreos.com")
        scene.wait_for("MonitoringReady", "False", "ServiceMonitorCRDMissing")
