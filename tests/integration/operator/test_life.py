"""A model's ordinary life, on a real API: from the first apply to the next revision, with restarts in between."""

from __future__ import annotations

import json
import time

import pytest
from fault_source import Source
from kube import Kube, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

from keras_api.reasons import Reason


@pytest.fixture
def scene(kube: Kube, namespace: str, operator: OperatorProcess) -> ModelFixture:
    return ModelFixture(kube, namespace)


def test_a_model_is_prepared_and_then_served(scene: ModelFixture, source: Source) -> None:
    scene.create(source.url)

    scene.wait_for("Ready", "False", "Preparing")
    revision = scene.status()["desiredRevision"]
    job = scene.wait_for_child("jobs", f"digits-prepare-{revision}")
    fetch = job["spec"]["template"]["spec"]["initContainers"][0]
    request = json.loads(fetch["command"][fetch["command"].index("--request") + 1])
    assert (request["uri"], request["revision"]) == (source.url, revision)
    assert scene.child("deployments") is None

    scene.kubelet.prepares("digits")
    scene.wait_for("Ready", "False", "RollingOut")
    assert scene.status()["model"]["runtime"] == "onnxruntime"
    scene.kubelet.serves("digits")
    scene.wait_for("Ready", "True", "Serving")

    status = scene.status()
    assert status["servingRevision"] == status["preparedRevision"] == revision
    assert status["url"] == f"http://digits.{scene.namespace}.svc:8080"
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert status["history"][0]["revision"] == revision
    assert scene.condition("Available")["status"] == "True"
    assert scene.condition("Reconciling")["status"] == "False"


def test_a_new_model_costs_at_most_four_status_writes(
    scene: ModelFixture, source: Source, operator: OperatorProcess
) -> None:
    before = operator.metrics()["keras_operator_status_writes_total"]
    scene.serve(source.url)
    assert operator.metrics()["keras_operator_status_writes_total"] - before <= 4


def test_nothing_is_written_at_rest(scene: ModelFixture, source: Source, operator: OperatorProcess) -> None:
    scene.serve(source.url)
    wait_until(lambda: operator.metrics()['workqueue_depth{name="kerasmodel"}'] == 0, "an empty queue")
    time.sleep(1)  # what the last event still brings about
    before = operator.writes()
    time.sleep(12)  # longer than any wake-up of a model that is being worked on
    assert operator.writes() == before


def test_a_restart_writes_nothing_and_asks_no_source(
    scene: ModelFixture, source: Source, operator: OperatorProcess
) -> None:
    scene.serve(source.url, source={"pollInterval": "1h"})
    asked = source.requests
    operator.stop()
    operator.start()
    wait_until(
        lambda: operator.metrics().get('keras_operator_reconcile_duration_seconds_count{result="ok"}', 0) > 0, "a turn"
    )
    time.sleep(2)
    assert operator.writes() == 0
    assert source.requests == asked
    assert scene.condition("Ready")["status"] == "True"


def test_a_restart_writes_nothing_while_the_source_fails(
    scene: ModelFixture, source: Source, operator: OperatorProcess
) -> None:
    source.status = 404
    scene.create(source.url)
    scene.wait_for("Ready", "False", "SourceNotFound")
    asked = source.requests
    operator.stop()
    operator.start()
    wait_until(lambda: source.requests > asked, "the source to be asked again")
    time.sleep(2)
    assert operator.writes() == 0
    scene.wait_for("Ready", "False", "SourceNotFound")


def test_a_new_file_at_the_same_address_becomes_the_next_revision(scene: ModelFixture, source: Source) -> None:
    first = scene.serve(source.url, source={"pollInterval": "10s"})
    source.content = b"a better model"
    second = wait_until(
        lambda: (found := scene.status()["desiredRevision"]) != first and found, "the new file to be noticed"
    )
    assert scene.condition("Available")["status"] == "True"
    assert scene.status()["servingRevision"] == first

    scene.kubelet.prepares("digits", second)
    scene.kubelet.serves("digits", revision=second)
    scene.wait_for("Ready", "True")
    assert scene.status()["servingRevision"] == second
    assert [entry["revision"] for entry in scene.status()["history"]] == [second, first]
    wait_until(lambda: scene.child("jobs", f"digits-prepare-{first}") is None, "the first revision's Job to go")
    assert scene.child("jobs", f"digits-prepare-{second}") is not None


def test_the_old_revision_goes_on_being_served_when_the_new_one_fails(scene: ModelFixture, source: Source) -> None:
    first = scene.serve(source.url)
    scene.change(serving={"runtime": "onnxruntime"})
    scene.wait_for("Ready", "False", "Preparing")
    scene.kubelet.fails("digits", Reason.CONVERSION_FAILED, "the layer fft cannot be converted")
    scene.wait_for("Ready", "False", "ConversionFailed")

    status = scene.status()
    assert status["servingRevision"] == status["preparedRevision"] == first
    assert status["desiredRevision"] != first
    assert status["lastFailure"]["message"] == "the layer fft cannot be converted"
    assert scene.condition("Stalled")["status"] == "True"
    assert scene.condition("Available")["status"] == "True"

    # And it is kept as the spec wants it: more replicas, and a Deployment that comes back.
    scene.change(serving={"runtime": "onnxruntime", "replicas": 2})
    wait_until(lambda: scene.wait_for_child("deployments")["spec"]["replicas"] == 2, "two replicas")
    scene.kube.delete("deployments", scene.namespace, "digits")
    again = scene.wait_for_child("deployments")
    assert again["spec"]["template"]["metadata"]["labels"]["keras-operator.dev/revision"] == first


def test_replicas_are_scaled_by_the_scale_subresource(scene: ModelFixture, source: Source) -> None:
    scene.serve(source.url)
    scene.kube.patch("kerasmodels", scene.namespace, "digits", {"spec": {"replicas": 2}}, subresource="scale")
    scene.kubelet.serves("digits", 2)
    scene.wait_for("Ready", "True", "Serving")
    scale = scene.kube.get("kerasmodels", scene.namespace, "digits/scale")
    assert scale is not None
    assert scale["status"] == {
        "replicas": 2,
        "selector": "keras-operator.dev/model=digits,app.kubernetes.io/component=server",
    }


def test_a_model_scaled_to_zero_is_ready_but_not_available(scene: ModelFixture, source: Source) -> None:
    scene.serve(source.url)
    scene.change(serving={"replicas": 0})
    scene.wait_for("Ready", "True", "ScaledToZero")
    scene.wait_for("Available", "False", "ScaledToZero")


def test_replicas_that_the_spec_does_not_set_are_left_to_others(scene: ModelFixture, source: Source) -> None:
    scene.serve(source.url)
    scene.kube.patch("deployments", scene.namespace, "digits", {"spec": {"replicas": 2}}, subresource="scale")
    scene.kubelet.serves("digits", 2)
    wait_until(lambda: scene.status().get("readyReplicas") == 2, "two ready replicas")
    scene.wait_for("Ready", "True", "Serving")


def test_deleting_a_model_deletes_its_children(scene: ModelFixture, source: Source) -> None:
    scene.serve(source.url)
    scene.kube.delete("kerasmodels", scene.namespace, "digits")
    for plural in ("deployments", "services", "serviceaccounts"):
        wait_until(lambda plural=plural: scene.child(plural) is None, f"{plural} to be collected")
    wait_until(lambda: not scene.kube.list("jobs", scene.namespace), "the Job to be collected")


def test_a_suspended_model_is_left_alone_and_goes_on_serving(scene: ModelFixture, source: Source) -> None:
    first = scene.serve(source.url)
    scene.change(suspend=True, serving={"replicas": 3})
    scene.wait_for("Reconciling", "False", "Suspended")
    # One pod goes on serving, but the three that the spec asks for are not there.
    assert scene.condition("Ready")["status"] == "False"
    assert scene.condition("Available")["status"] == "True"
    assert scene.status()["servingRevision"] == first
    scene.kube.delete("services", scene.namespace, "digits")
    time.sleep(2)
    assert scene.child("services") is None
    assert "replicas" not in scene.wait_for_child("deployments")["metadata"].get("annotations", {})
    assert scene.wait_for_child("deployments")["spec"]["replicas"] == 1

    scene.change(suspend=False)
    scene.wait_for_child("services")
    scene.kubelet.serves("digits", 3)
    scene.wait_for("Ready", "True")


def test_a_model_created_suspended_does_nothing_until_it_is_resumed(scene: ModelFixture, source: Source) -> None:
    scene.create(source.url, suspend=True)
    scene.wait_for("Ready", "False", "Suspended")
    assert source.requests == 0
    assert scene.child("services") is None
    scene.change(suspend=False)
    scene.wait_for("Ready", "False", "Preparing")


def test_that_a_model_turns_ready_and_ceases_to_be_is_told_as_events(scene: ModelFixture, source: Source) -> None:
    scene.serve(source.url)
    scene.change(serving={"runtime": "onnxruntime"})
    scene.wait_for("Ready", "False", "Preparing")
    uid = scene.model()["metadata"]["uid"]
    events = [each for each in scene.kube.list("events", scene.namespace) if each["involvedObject"].get("uid") == uid]
    events.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
    assert [each["reason"] for each in events] == ["Serving", "Preparing"]
