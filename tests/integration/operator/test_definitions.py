"""Definitions (CRDs) that are deleted and recreated while the operator runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.apiserver import SERVICE_MONITOR_CRD, ApiServer
from fault_source import FaultSource
from kube import Kube, KubeError, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

from keras_api.crd import custom_resource_definition
from keras_store.sources.registry import SCHEMES


@pytest.fixture
def operator(own_api: ApiServer, tmp_path: Path) -> Iterator[OperatorProcess]:
    operator = OperatorProcess(own_api.kubeconfig, tmp_path / "log", resync_interval="10s")
    with operator, operator.relaunching():
        yield operator


@pytest.fixture
def model(own_kube: Kube, operator: OperatorProcess) -> ModelFixture:
    own_kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}})
    return ModelFixture(own_kube, "team-a")


def _install(kube: Kube, definition: Object) -> None:
    """Create a definition, once the previous one is deleted."""

    def created() -> bool:
        try:
            kube.create(definition)
        except KubeError as error:
            if error.status == 409:
                return False
            raise
        return True

    wait_until(created, "the previous definition to be deleted")


def test_models_are_served_again_after_their_definition_is_recreated(
    model: ModelFixture, source: FaultSource, operator: OperatorProcess
) -> None:
    model.serve(source.url)
    model.kube.delete_crd("kerasmodels.keras-operator.dev")
    wait_until(lambda: model.child("deployments") is None, "the garbage collection of the children", timeout=60)

    _install(model.kube, custom_resource_definition(SCHEMES))
    wait_until(lambda: model.kube.serves("/apis/keras-operator.dev/v1alpha1"), "the definition to be served")
    model.serve(source.url)
    model.kube.delete("services", model.namespace, "digits")
    model.wait_for_child("services")


def test_service_monitors_are_repaired_however_often_their_definition_is_recreated(
    model: ModelFixture, source: FaultSource, operator: OperatorProcess
) -> None:
    model.serve(source.url)
    for _ in range(4):
        _install(model.kube, SERVICE_MONITOR_CRD)
        model.wait_for("MonitoringReady", "True", "ServiceMonitorApplied")
        theirs = {"spec": {"endpoints": [{"port": "theirs"}]}}
        model.kube.patch("servicemonitors", model.namespace, "digits", theirs)
        wait_until(
            lambda: model.wait_for_child("servicemonitors")["spec"]["endpoints"][0]["port"] == "http",
            "the change to be reverted, by the next listing at the latest",
        )
        model.kube.delete_crd("servicemonitors.monitoring.coreos.com")
        model.wait_for("MonitoringReady", "False", "ServiceMonitorCRDMissing")
