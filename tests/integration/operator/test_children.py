"""Children stay as the operator wants them: changed, deleted, stripped, or taken by somebody else."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cluster.apiserver import SERVICE_MONITOR_CRD
from fault_source import Source
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

# A change is to be put back within a second; what a bare write may take for the machine to count as idle.
PUT_BACK_SECONDS = 1.0
BARE_WRITE_SECONDS = 0.05


@pytest.fixture
def scene(kube: Kube, namespace: str, operator: OperatorProcess) -> ModelFixture:
    return ModelFixture(kube, namespace)


@pytest.fixture
def served(scene: ModelFixture, source: Source) -> ModelFixture:
    scene.serve(source.url, serving={"replicas": 1})
    return scene


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
def test_what_somebody_changed_is_put_back(served: ModelFixture, plural: str, patch: Any, kind: str) -> None:
    before = _essence(served.wait_for_child(plural))
    slow = _slowness(served, plural)
    begin = time.monotonic()
    changed = served.kube.patch(plural, served.namespace, "digits", patch, kind=kind)
    assert _essence(changed) != before
    wait_until(lambda: _essence(served.wait_for_child(plural)) == before, f"the {plural} to be as it was")
    seconds = time.monotonic() - begin
    slow = max(slow, _slowness(served, plural))
    assert seconds <= PUT_BACK_SECONDS * slow


def test_what_others_added_is_left_alone(served: ModelFixture) -> None:
    served.kube.patch("deployments", served.namespace, "digits", {"metadata": {"annotations": {"theirs": "x"}}})
    served.kube.patch("deployments", served.namespace, "digits", {"spec": {"replicas": 2}})
    wait_until(lambda: served.wait_for_child("deployments")["spec"]["replicas"] == 1, "the replicas to be put back")
    assert served.wait_for_child("deployments")["metadata"]["annotations"]["theirs"] == "x"


@pytest.mark.parametrize("plural", ["deployments", "services", "serviceaccounts"])
def test_a_deleted_child_comes_back(served: ModelFixture, plural: str) -> None:
    uid = served.wait_for_child(plural)["metadata"]["uid"]
    served.kube.delete(plural, served.namespace, "digits")
    wait_until(lambda: (found := served.child(plural)) and found["metadata"]["uid"] != uid, f"a new {plural}")


def test_a_change_made_while_the_operator_was_away_is_put_back(served: ModelFixture, operator: OperatorProcess) -> None:
    operator.stop()
    try:
        served.kube.patch("deployments", served.namespace, "digits", _image("evil"), kind="json")
        served.kube.delete("services", served.namespace, "digits")
    finally:
        operator.start()
    served.wait_for_child("services")
    wait_until(lambda: _server(served)["image"] == "registry.example.org/server:1", "the image to be put back")


@pytest.mark.parametrize("plural", ["services", "serviceaccounts"])
def test_somebody_elses_object_is_never_taken_over(scene: ModelFixture, source: Source, plural: str) -> None:
    metadata = {"name": "digits", "namespace": scene.namespace}
    theirs: Object = {"apiVersion": "v1", "metadata": metadata}
    if plural == "services":
        theirs |= {"kind": "Service", "spec": {"ports": [{"port": 1}], "selector": {"their": "app"}}}
    else:
        theirs |= {"kind": "ServiceAccount"}
    before = scene.kube.create(theirs)
    scene.create(source.url)
    ready = scene.wait_for("Ready", "False", "NameConflict")
    assert "digits" in ready["message"]
    live = scene.wait_for_child(plural)
    assert live["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert scene.status().get("url", "") == (
        "" if plural == "services" else f"http://digits.{scene.namespace}.svc:8080"
    )


def test_a_model_made_anew_under_the_same_name_gets_children_of_its_own(served: ModelFixture, source: Source) -> None:
    served.kube.delete("kerasmodels", served.namespace, "digits")
    served.create(source.url)
    uid = served.model()["metadata"]["uid"]
    served.kubelet.prepares("digits")
    wait_until(
        lambda: (
            (found := served.child("deployments")) and found["metadata"]["ownerReferences"][0]["uid"] == uid and found
        ),
        "a Deployment of the new model",
        timeout=60,
    )


def test_a_service_monitor_appears_with_its_crd_and_goes_with_it(served: ModelFixture) -> None:
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
        wait_until(lambda: served.child("servicemonitors") is None, "the ServiceMonitor to go")
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


def _slowness(scene: ModelFixture, plural: str) -> float:
    """How many times longer than it should a bare write takes at present: 1 where nothing keeps the machine busy."""
    begin = time.monotonic()
    scene.kube.patch(plural, scene.namespace, "digits", {"metadata": {"annotations": {"theirs": str(begin)}}})
    return max(1.0, (time.monotonic() - begin) / BARE_WRITE_SECONDS)


def _essence(obj: Object) -> Object:
    """What of an object the operator answers for."""
    metadata = {name: obj["metadata"].get(name) for name in ("labels", "ownerReferences")}
    rest = {name: value for name, value in obj.items() if name not in ("metadata", "status", "secrets")}
    return {**rest, "metadata": metadata}


def _server(scene: ModelFixture) -> Object:
    found: Object = scene.wait_for_child("deployments")["spec"]["template"]["spec"]["containers"][0]
    return found
