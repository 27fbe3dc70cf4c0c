"""The life cycle of a model on a real API: from the first apply to the next revision, with restarts of the operator."""

from __future__ import annotations

import json
import time

import pytest
from fault_source import FaultSource
from kube import Kube, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

from keras_api.reasons import Reason


@pytest.fixture
def model(kube: Kube, namespace: str, operator: OperatorProcess) -> ModelFixture:
    return ModelFixture(kube, namespace)


def test_a_model_is_prepared_and_then_served(model: ModelFixture, source: FaultSource) -> None:
    model.create(source.url)

    model.wait_for("Ready", "False", "Preparing")
    revision = model.status()["desiredRevision"]
    job = model.wait_for_child("jobs", f"digits-prepare-{revision}")
    fetch = job["spec"]["template"]["spec"]["initContainers"][0]
    request = json.loads(fetch["command"][fetch["command"].index("--request") + 1])
    assert (request["uri"], request["revision"]) == (source.url, revision)
    assert model.child("deployments") is None

    model.kubelet.complete_prepare("digits")
    model.wait_for("Ready", "False", "RollingOut")
    assert model.status()["model"]["runtime"] == "onnxruntime"
    model.kubelet.make_servers_ready("digits")
    model.wait_for("Ready", "True", "Serving")

    status = model.status()
    assert status["servingRevision"] == status["preparedRevision"] == revision
    assert status["url"] == f"http://digits.{model.namespace}.svc:8080"
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert status["history"][0]["revision"] == revision
    assert model.condition("Available")["status"] == "True"
    assert model.condition("Reconciling")["status"] == "False"


def test_a_new_model_costs_at_most_four_status_writes(
    model: ModelFixture, source: FaultSource, operator: OperatorProcess
) -> None:
    before = operator.metrics()["keras_operator_status_writes_total"]
    model.serve(source.url)
    assert operator.metrics()["keras_operator_status_writes_total"] - before <= 4


def test_nothing_is_written_in_steady_state(
    model: ModelFixture, source: FaultSource, operator: OperatorProcess
) -> None:
    model.serve(source.url)
    wait_until(lambda: operator.metrics()['workqueue_depth{name="kerasmodel"}'] == 0, "an empty queue")
    time.sleep(1)  # for the effects of the last event
    before = operator.writes()
    time.sleep(12)  # longer than the interval at which a model that makes progress is reconciled
    assert operator.writes() == before


def test_a_restart_writes_nothing_and_polls_no_source(
    model: ModelFixture, source: FaultSource, operator: OperatorProcess
) -> None:
    model.serve(source.url, source={"pollInterval": "1h"})
    requests = source.requests
    operator.stop()
    operator.start()
    wait_until(
        lambda: operator.metrics().get('keras_operator_reconcile_duration_seconds_count{result="ok"}', 0) > 0,
        "a reconcile",
    )
    time.sleep(2)
    assert operator.writes() == 0
    assert source.requests == requests
    assert model.condition("Ready")["status"] == "True"


def test_a_restart_writes_nothing_while_the_source_fails(
    model: ModelFixture, source: FaultSource, operator: OperatorProcess
) -> None:
    source.status = 404
    model.create(source.url)
    model.wait_for("Ready", "False", "SourceNotFound")
    requests = source.requests
    operator.stop()
    operator.start()
    wait_until(lambda: source.requests > requests, "another poll of the source")
    time.sleep(2)
    assert operator.writes() == 0
    model.wait_for("Ready", "False", "SourceNotFound")


def test_a_new_file_at_the_same_address_becomes_the_next_revision(model: ModelFixture, source: FaultSource) -> None:
    first = model.serve(source.url, source={"pollInterval": "10s"})
    source.content = b"a better model"
    second = wait_until(
        lambda: (found := model.status()["desiredRevision"]) != first and found, "the new file to be detected"
    )
    assert model.condition("Available")["status"] == "True"
    assert model.status()["servingRevision"] == first

    model.kubelet.complete_prepare("digits", second)
    model.kubelet.make_servers_ready("digits", revision=second)
    model.wait_for("Ready", "True")
    assert model.status()["servingRevision"] == second
    assert [entry["revision"] for entry in model.status()["history"]] == [second, first]
    wait_until(lambda: model.child("jobs", f"digits-prepare-{first}") is None, "the first revision's Job to be deleted")
    assert model.child("jobs", f"digits-prepare-{second}") is not None


def test_the_old_revision_is_served_when_the_new_one_fails(model: ModelFixture, source: FaultSource) -> None:
    first = model.serve(source.url)
    model.change(serving={"runtime": "onnxruntime"})
    model.wait_for("Ready", "False", "Preparing")
    model.kubelet.fail_prepare("digits", Reason.CONVERSION_FAILED, "the layer fft cannot be converted")
    model.wait_for("Ready", "False", "ConversionFailed")

    status = model.status()
    assert status["servingRevision"] == status["preparedRevision"] == first
    assert status["desiredRevision"] != first
    assert status["lastFailure"]["message"] == "the layer fft cannot be converted"
    assert model.condition("Stalled")["status"] == "True"
    assert model.condition("Available")["status"] == "True"

    # Its other settings follow the spec: the number of replicas, and a Deployment that is recreated after its deletion.
    model.change(serving={"runtime": "onnxruntime", "replicas": 2})
    wait_until(lambda: model.wait_for_child("deployments")["spec"]["replicas"] == 2, "two replicas")
    model.kube.delete("deployments", model.namespace, "digits")
    again = model.wait_for_child("deployments")
    assert again["spec"]["template"]["metadata"]["labels"]["keras-operator.dev/revision"] == first


def test_replicas_are_scaled_by_the_scale_subresource(model: ModelFixture, source: FaultSource) -> None:
    model.serve(source.url)
    model.kube.patch("kerasmodels", model.namespace, "digits", {"spec": {"replicas": 2}}, subresource="scale")
    model.kubelet.make_servers_ready("digits", 2)
    model.wait_for("Ready", "True", "Serving")
    scale = model.kube.get("kerasmodels", model.namespace, "digits/scale")
    assert scale is not None
    assert scale["status"] == {
        "replicas": 2,
        "selector": "keras-operator.dev/model=digits,app.kubernetes.io/component=server",
    }


def test_a_model_scaled_to_zero_is_ready_but_not_available(model: ModelFixture, source: FaultSource) -> None:
    model.serve(source.url)
    model.change(serving={"replicas": 0})
    model.wait_for("Ready", "True", "ScaledToZero")
    model.wait_for("Available", "False", "ScaledToZero")


def test_replicas_are_not_changed_if_the_spec_does_not_set_them(model: ModelFixture, source: FaultSource) -> None:
    model.serve(source.url)
    model.kube.patch("deployments", model.namespace, "digits", {"spec": {"replicas": 2}}, subresource="scale")
    model.kubelet.make_servers_ready("digits", 2)
    wait_until(lambda: model.status().get("readyReplicas") == 2, "two ready replicas")
    model.wait_for("Ready", "True", "Serving")


def test_deleting_a_model_deletes_its_children(model: ModelFixture, source: FaultSource) -> None:
    model.serve(source.url)
    model.kube.delete("kerasmodels", model.namespace, "digits")
    for plural in ("deployments", "services", "serviceaccounts"):
        wait_until(lambda plural=plural: model.child(plural) is None, f"the garbage collection of {plural}")
    wait_until(lambda: not model.kube.list("jobs", model.namespace), "the garbage collection of the Job")


def test_a_suspended_model_is_not_changed_and_keeps_serving(model: ModelFixture, source: FaultSource) -> None:
    first = model.serve(source.url)
    model.change(suspend=True, serving={"replicas": 3})
    model.wait_for("Reconciling", "False", "Suspended")
    # One pod keeps serving, but the three that the spec requires do not exist.
    assert model.condition("Ready")["status"] == "False"
    assert model.condition("Available")["status"] == "True"
    assert model.status()["servingRevision"] == first
    model.kube.delete("services", model.namespace, "digits")
    time.sleep(2)
    assert model.child("services") is None
    assert "replicas" not in model.wait_for_child("deployments")["metadata"].get("annotations", {})
    assert model.wait_for_child("deployments")["spec"]["replicas"] == 1

    model.change(suspend=False)
    model.wait_for_child("services")
    model.kubelet.make_servers_ready("digits", 3)
    model.wait_for("Ready", "True")


def test_a_model_created_suspended_does_nothing_until_it_is_resumed(model: ModelFixture, source: FaultSource) -> None:
    model.create(source.url, suspend=True)
    model.wait_for("Ready", "False", "Suspended")
    assert source.requests == 0
    assert model.child("services") is None
    model.change(suspend=False)
    model.wait_for("Ready", "False", "Preparing")


def test_events_report_when_a_model_becomes_ready_and_when_it_no_longer_is(
    model: ModelFixture, source: FaultSource
) -> None:
    model.serve(source.url)
    model.change(serving={"runtime": "onnxruntime"})
    model.wait_for("Ready", "False", "Preparing")
    uid = model.resource()["metadata"]["uid"]

    def reasons() -> list[str]:
        events = model.kube.list("events", model.namespace)
        events = [each for each in events if each["involvedObject"].get("uid") == uid]
        events.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
        return [each["reason"] for each in events]

    wait_until(lambda: len(reasons()) > 1, "the second Event, which is created after the status is written")
    assert reasons() == ["Serving", "Preparing"]
