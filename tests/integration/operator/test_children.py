"""The operator maintains its children: changed, deleted, without labels or owner, or with a name conflict."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cluster.apiserver import SERVICE_MONITOR_CRD
from fault_source import FaultSource
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

# A change must be reverted within a second, on a machine on which a bare write takes no longer than this.
REVERT_SECONDS = 1.0
BARE_WRITE_SECONDS = 0.05


@pytest.fixture
def model(kube: Kube, namespace: str, operator: OperatorProcess) -> ModelFixture:
    return ModelFixture(kube, namespace)


@pytest.fixture
def served(model: ModelFixture, source: FaultSource) -> ModelFixture:
    model.serve(source.url, serving={"replicas": 1})
    return model


def _image(value: str) -> list[Object]:
    return [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": value}]


CHANGES: list[tuple[str, str, Any, str]] = [
    ("replicas of the Deployment", "deployments", {"spec": {"replicas": 7}}, "merge"),
    ("image of the server", "deployments", _image("evil"), "json"),
    ("label removed", "deployments", {"metadata": {"labels": {"keras-operator.dev/model": None}}}, "merge"),
    ("label changed", "services", {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}, "merge"),
    ("owner removed", "deployments", {"metadata": {"ownerReferences": None}}, "merge"),
    ("selector of the Service", "services", {"spec": {"selector": {"keras-operator.dev/model": "x"}}}, "merge"),
    ("port of the Service", "services", [{"op": "replace", "path": "/spec/ports/0/port", "value": 81}], "json"),
    ("token mounted", "serviceaccounts", {"automountServiceAccountToken": True}, "merge"),
]


@pytest.mark.parametrize(("plural", "patch", "kind"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES])
def test_a_change_by_another_client_is_reverted(served: ModelFixture, plural: str, patch: Any, kind: str) -> None:
    before = _owned_content(served.wait_for_child(plural))
    slowdown = _slowdown(served, plural)
    begin = time.monotonic()
    changed = served.kube.patch(plural, served.namespace, "digits", patch, kind=kind)
    assert _owned_content(changed) != before
    wait_until(lambda: _owned_content(served.wait_for_child(plural)) == before, f"the {plural} to be reverted")
    seconds = time.monotonic() - begin
    slowdown = max(slowdown, _slowdown(served, plural))
    assert seconds <= REVERT_SECONDS * slowdown


def test_fields_that_other_clients_added_are_kept(served: ModelFixture) -> None:
    served.kube.patch("deployments", served.namespace, "digits", {"metadata": {"annotations": {"theirs": "x"}}})
    served.kube.patch("deployments", served.namespace, "digits", {"spec": {"replicas": 2}})
    wait_until(lambda: served.wait_for_child("deployments")["spec"]["replicas"] == 1, "the replicas to be reverted")
    assert served.wait_for_child("deployments")["metadata"]["annotations"]["theirs"] == "x"


@pytest.mark.parametrize("plural", ["deployments", "services", "serviceaccounts"])
def test_a_deleted_child_is_recreated(served: ModelFixture, plural: str) -> None:
    uid = served.wait_for_child(plural)["metadata"]["uid"]
    served.kube.delete(plural, served.namespace, "digits")
    wait_until(lambda: (found := served.child(plural)) and found["metadata"]["uid"] != uid, f"a new {plural}")


def test_a_change_during_the_operators_downtime_is_reverted(served: ModelFixture, operator: OperatorProcess) -> None:
    operator.stop()
    try:
        served.kube.patch("deployments", served.namespace, "digits", _image("evil"), kind="json")
        served.kube.delete("services", served.namespace, "digits")
    finally:
        operator.start()
    served.wait_for_child("services")
    wait_until(lambda: _server(served)["image"] == "registry.example.org/server:1", "the image to be reverted")


@pytest.mark.parametrize("plural", ["services", "serviceaccounts"])
def test_an_object_of_another_owner_is_never_taken_over(model: ModelFixture, source: FaultSource, plural: str) -> None:
    metadata = {"name": "digits", "namespace": model.namespace}
    theirs: Object = {"apiVersion": "v1", "metadata": metadata}
    if plural == "services":
        theirs |= {"kind": "Service", "spec": {"ports": [{"port": 1}], "selector": {"their": "app"}}}
    else:
        theirs |= {"kind": "ServiceAccount"}
    before = model.kube.create(theirs)
    model.create(source.url)
    ready = model.wait_for("Ready", "False", "NameConflict")
    assert "digits" in ready["message"]
    live = model.wait_for_child(plural)
    assert live["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert model.status().get("url", "") == (
        "" if plural == "services" else f"http://digits.{model.namespace}.svc:8080"
    )


def test_a_recreated_model_gets_its_own_children(served: ModelFixture, source: FaultSource) -> None:
    served.kube.delete("kerasmodels", served.namespace, "digits")
    served.create(source.url)
    uid = served.resource()["metadata"]["uid"]
    served.kubelet.complete_prepare("digits")
    wait_until(
        lambda: (
            (found := served.child("deployments")) and found["metadata"]["ownerReferences"][0]["uid"] == uid and found
        ),
        "a Deployment of the new model",
        timeout=60,
    )


def test_a_service_monitor_is_created_and_removed_with_its_crd(served: ModelFixture) -> None:
    served.wait_for("MonitoringReady", "False", "ServiceMonitorCRDMissing")
    served.kube.create(SERVICE_MONITOR_CRD)
    try:
        served.wait_for("MonitoringReady", "True", "ServiceMonitorApplied")
        monitor = served.wait_for_child("servicemonitors")
        assert monitor["spec"]["endpoints"] == [{"port": "http", "path": "/metrics"}]
        served.kube.delete("servicemonitors", served.namespace, "digits")
        served.wait_for_child("servicemonitors")

        served.change(monitoring={"serviceMonitor": {"enabled": False}})
        served.wait_for("MonitoringReady", "False", "ServiceMonitorDisabled")
        wait_until(lambda: served.child("servicemonitors") is None, "the ServiceMonitor to be deleted")
        served.change(monitoring={"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}})
        wait_until(
            lambda: (
                (found := served.child("servicemonitors"))
                and found["metadata"]["labels"].get("release") == "prometheus"
            ),
            "the label",
        )
    finally:
        served.kube.delete_crd("servicemonitors.monitoring.coreos.com")
    served.wait_for("MonitoringReady", "False", "ServiceMonitorCRDMissing")
    assert served.condition("Ready")["status"] == "True"


def _slowdown(model: ModelFixture, plural: str) -> float:
    """The factor by which a bare write is slower at present than on an idle machine; at least 1."""
    begin = time.monotonic()
    model.kube.patch(plural, model.namespace, "digits", {"metadata": {"annotations": {"theirs": str(begin)}}})
    return max(1.0, (time.monotonic() - begin) / BARE_WRITE_SECONDS)


def _owned_content(obj: Object) -> Object:
    """The part of an object that the operator owns."""
    metadata = {name: obj["metadata"].get(name) for name in ("labels", "ownerReferences")}
    content = {name: value for name, value in obj.items() if name not in ("metadata", "status", "secrets")}
    return {**content, "metadata": metadata}


def _server(model: ModelFixture) -> Object:
    found: Object = model.wait_for_child("deployments")["spec"]["template"]["spec"]["containers"][0]
    return found
