"""Failures of sources, Jobs and pods, and how the status reports them."""

from __future__ import annotations

import base64
import time

import pytest
from fault_source import FaultSource
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

from keras_api.reasons import Reason


@pytest.fixture
def model(kube: Kube, namespace: str, operator: OperatorProcess) -> ModelFixture:
    return ModelFixture(kube, namespace)


@pytest.mark.parametrize(("status", "reason"), [(404, "SourceNotFound"), (403, "SourceAccessDenied")])
def test_a_source_error_is_reported_and_the_source_is_polled_again(
    model: ModelFixture, source: FaultSource, status: int, reason: str
) -> None:
    source.status = status
    model.create(source.url)
    ready = model.wait_for("Ready", "False", reason)
    assert source.url in ready["message"]
    assert model.condition("Reconciling")["status"] == "True"
    assert model.status()["lastFailure"]["step"] == "resolve"
    source.status = 200
    model.wait_for("Ready", "False", "Preparing")


def test_a_missing_secret_is_reported_and_read_once_it_exists(model: ModelFixture, source: FaultSource) -> None:
    source.token = "s3cret"
    model.create(source.url, source={"secretRef": {"name": "reader"}})
    ready = model.wait_for("Ready", "False", "SecretNotFound")
    assert "reader" in ready["message"]
    data = {"HTTP_BEARER_TOKEN": base64.b64encode(b"s3cret").decode()}
    metadata = {"name": "reader", "namespace": model.namespace}
    model.kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    model.wait_for("Ready", "False", "Preparing")
    job = model.wait_for_child("jobs", f"digits-prepare-{model.status()['desiredRevision']}")
    pod = job["spec"]["template"]["spec"]
    with_secret = [
        each["name"]
        for each in [*pod["initContainers"], *pod["containers"]]
        if {"secretRef": {"name": "reader"}} in each.get("envFrom", [])
    ]
    assert with_secret == ["fetch"]


def test_a_missing_source_does_not_affect_the_served_revision(model: ModelFixture, source: FaultSource) -> None:
    first = model.serve(source.url, source={"pollInterval": "10s"})
    source.status = 404
    failure = wait_until(lambda: model.status().get("lastFailure"), "the failure to be reported")
    assert (failure["step"], failure["reason"]) == ("resolve", "SourceNotFound")
    assert model.condition("Ready")["status"] == "True"
    assert model.status()["servingRevision"] == first


def test_a_wrong_new_address_does_not_affect_the_served_revision(model: ModelFixture, source: FaultSource) -> None:
    first = model.serve(source.url)
    source.status = 404
    model.change(source={"uri": source.url.replace("digits", "missing")})
    model.wait_for("Ready", "False", "SourceNotFound")
    assert model.condition("Available")["status"] == "True"
    assert model.status()["servingRevision"] == first
    assert model.wait_for_child("deployments")["status"]["readyReplicas"] == 1


def test_an_invalid_model_stalls_until_its_job_is_deleted(model: ModelFixture, source: FaultSource) -> None:
    model.create(source.url)
    model.kubelet.fail_prepare("digits", Reason.MODEL_UNSAFE, "the layer lambda_1 is a Lambda")
    stalled = model.wait_for("Stalled", "True", "ModelUnsafe")
    assert stalled["message"] == "the layer lambda_1 is a Lambda"
    assert model.condition("Reconciling")["status"] == "False"
    failure = model.status()["lastFailure"]
    assert (failure["step"], failure["exitCode"]) == ("prepare", 1)
    job = f"digits-prepare-{failure['revision']}"
    assert model.child("jobs", job) is not None

    # Deleting the failed Job requests another attempt.
    model.kube.delete("jobs", model.namespace, job)
    model.wait_for("Ready", "False", "Preparing")
    model.wait_for_child("jobs", job)


def test_a_temporary_failure_is_retried_after_a_pause(model: ModelFixture, source: FaultSource) -> None:
    model.create(source.url)
    model.kubelet.fail_prepare("digits", Reason.STORE_UNAVAILABLE, "the store does not answer")
    model.wait_for("Ready", "False", "StoreUnavailable")
    assert model.condition("Reconciling")["status"] == "True"
    model.wait_for("Ready", "False", "Preparing")
    model.kubelet.complete_prepare("digits")
    model.wait_for("Ready", "False", "RollingOut")


def test_a_file_replaced_before_its_download_is_polled_again_at_once(model: ModelFixture, source: FaultSource) -> None:
    model.create(source.url, source={"pollInterval": "1h"})
    first = wait_until(lambda: model.status().get("desiredRevision"), "a revision")
    source.content = b"a better model"
    model.kubelet.fail_prepare("digits", Reason.SOURCE_CHANGED, "the file was replaced after it was polled")
    second = wait_until(
        lambda: (found := model.status()["desiredRevision"]) != first and found, "the new file to be detected"
    )
    model.wait_for_child("jobs", f"digits-prepare-{second}")


def test_a_prepare_job_that_runs_out_of_memory_gets_twice_as_much_once(
    model: ModelFixture, source: FaultSource
) -> None:
    model.create(source.url)
    job = f"digits-prepare-{wait_until(lambda: model.status().get('desiredRevision'), 'a revision')}"
    limit = _memory(model, job)
    model.kubelet.oom_kill_prepare("digits", len(source.content))
    model.wait_for("Ready", "False", "OutOfMemory")
    wait_until(lambda: _memory(model, job) == 2 * limit, "a Job with twice the memory")
    model.kubelet.oom_kill_prepare("digits", len(source.content))
    model.wait_for("Stalled", "True", "OutOfMemory")


def test_a_file_larger_than_assumed_gets_the_memory_that_it_needs(model: ModelFixture) -> None:
    """Only the fetch step knows the size of a file on a claim."""
    model.create("pvc://models/large.keras")
    job = f"digits-prepare-{wait_until(lambda: model.status().get('desiredRevision'), 'a revision')}"
    assumed = _memory(model, job)
    model.kubelet.oom_kill_prepare("digits", 1 << 30)
    assert (
        "the memory that a model file of 1073741824 bytes usually needs"
        in model.wait_for("Ready", "False", "OutOfMemory")["message"]
    )
    larger = wait_until(lambda: (found := _memory(model, job)) > 2 * assumed and found, "a Job with more memory")
    model.kubelet.oom_kill_prepare("digits", 1 << 30)
    wait_until(lambda: _memory(model, job) == 2 * larger, "a Job with twice the memory", timeout=60)
    model.kubelet.oom_kill_prepare("digits", 1 << 30)
    assert "increase the chart value prepare.memory" in model.wait_for("Stalled", "True", "OutOfMemory")["message"]


def test_a_lost_report_leads_to_another_run(model: ModelFixture, source: FaultSource) -> None:
    model.create(source.url)
    job = f"digits-prepare-{wait_until(lambda: model.status().get('desiredRevision'), 'a revision')}"
    uid = model.wait_for_child("jobs", job)["metadata"]["uid"]
    pod = model.kubelet.prepare_pod("digits")
    model.kubelet.set_status(pod, phase="Succeeded")
    wait_until(lambda: model.wait_for_child("jobs", job)["metadata"]["uid"] != uid, "another Job")
    model.kubelet.complete_prepare("digits")
    model.wait_for("Ready", "False", "RollingOut")


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        (("ImagePullBackOff", 'Back-off pulling image "x"'), "ImagePullFailed"),
        (("CreateContainerConfigError", 'secret "reader" not found'), "SecretNotFound"),
    ],
)
def test_a_serving_pod_that_cannot_start_is_reported_with_the_cause(
    model: ModelFixture, source: FaultSource, waiting: tuple[str, str], reason: str
) -> None:
    model.create(source.url)
    model.kubelet.complete_prepare("digits")
    pod = model.kubelet.server_pods("digits")[0]
    model.kubelet.set_waiting(pod, "server", *waiting)
    ready = model.wait_for("Ready", "False", reason)
    assert pod["metadata"]["name"] in ready["message"]
    assert waiting[1] in ready["message"]
    model.kubelet.make_ready(pod)
    model.wait_for("Ready", "True")
    assert model.status()["lastFailure"]["reason"] == reason


def test_a_crashing_server_is_reported_with_the_end_of_its_log(model: ModelFixture, source: FaultSource) -> None:
    model.create(source.url)
    model.kubelet.complete_prepare("digits")
    pod = model.kubelet.server_pods("digits")[0]
    last = {"exitCode": 3, "reason": "Error", "message": "keras_server: golden outputs differ"}
    model.kubelet.set_waiting(
        pod, "server", "CrashLoopBackOff", "back-off 10s", restartCount=3, lastState={"terminated": last}
    )
    ready = model.wait_for("Ready", "False", "CrashLoop")
    assert "golden outputs differ" in ready["message"]
    assert model.status()["lastFailure"]["exitCode"] == 3


def test_a_bundle_lost_by_the_store_is_prepared_again(model: ModelFixture, source: FaultSource) -> None:
    first = model.serve(source.url)
    job = model.wait_for_child("jobs", f"digits-prepare-{first}")
    model.kube.delete("pods", model.namespace, model.kubelet.server_pods("digits")[0]["metadata"]["name"])
    wait_until(lambda: model.status().get("readyReplicas", 0) == 0, "the pod to be deleted")
    time.sleep(1.1)  # times in Kubernetes are whole seconds: the loss must come after the Job's end
    model.kubelet.report_lost_bundle(model.kubelet.server_pods("digits")[0])
    wait_until(
        lambda: model.wait_for_child("jobs", job["metadata"]["name"])["metadata"]["uid"] != job["metadata"]["uid"],
        "another Job",
    )
    model.kubelet.complete_prepare("digits")
    model.kubelet.make_servers_ready("digits")
    model.wait_for("Ready", "True")


def test_an_unschedulable_pod_is_reported_with_the_schedulers_message(model: ModelFixture, source: FaultSource) -> None:
    model.create(source.url)
    pod = model.kubelet.prepare_pod("digits")
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes: no memory",
    }
    model.kubelet.set_status(pod, conditions=[condition])
    assert "0/1 nodes: no memory" in model.wait_for("Ready", "False", "Unschedulable")["message"]


QUOTA: tuple[str, Object] = ("ResourceQuota", {"hard": {"pods": "0"}})
LIMITS: tuple[str, Object] = ("LimitRange", {"limits": [{"type": "Container", "min": {"cpu": "2"}}]})


def test_a_quota_that_rejects_the_prepare_pod_is_reported(model: ModelFixture, source: FaultSource) -> None:
    model.rule(*QUOTA)
    model.create(source.url)
    assert "exceeded quota" in model.wait_for("Ready", "False", "PodRefused")["message"]


def test_a_rejection_is_reported_for_the_present_pods_and_rule(model: ModelFixture, source: FaultSource) -> None:
    # The Deployment keeps the message of the first rejection, even if the template or the rule has changed since.
    model.serve(source.url)
    remove_quota = model.rule(*QUOTA)
    model.change(serving={"podTemplate": {"metadata": {"labels": {"try": "1"}}}})
    assert "exceeded quota" in model.wait_for("Ready", "False", "PodRefused")["message"]
    remove_limits = model.rule(*LIMITS)
    remove_quota()
    _wait_for_message(model, "minimum cpu usage per Container is 2")
    for attempt in ("2", "3", "4"):
        model.change(serving={"podTemplate": {"metadata": {"labels": {"try": attempt}}}})
        message = model.wait_for("Ready", "False", "PodRefused")["message"]
        template = _present_replica_set(model)
        assert f'pods "{template}-*" is forbidden: minimum cpu usage per Container is 2' in message
    remove_limits()
    model.kubelet.make_servers_ready("digits", 2)
    model.wait_for("Ready", "True")


def _wait_for_message(model: ModelFixture, part: str) -> None:
    wait_until(lambda: part in model.condition("Ready")["message"], f"{part!r} in the message of Ready")


def _present_replica_set(model: ModelFixture) -> str:
    """The name of the ReplicaSet that was created last."""
    found = model.kube.list("replicasets", model.namespace)
    number = "deployment.kubernetes.io/revision"
    newest = max(found, key=lambda each: int(each["metadata"]["annotations"][number]))
    return str(newest["metadata"]["name"])


def test_a_pod_template_that_cannot_be_merged_is_a_spec_error(model: ModelFixture, source: FaultSource) -> None:
    first = model.serve(source.url)
    model.change(serving={"podTemplate": {"spec": {"containers": [{"image": "x"}]}}})
    stalled = model.wait_for("Stalled", "True", "SpecInvalid")
    assert "spec.serving.podTemplate.spec.containers[0]" in stalled["message"]
    assert model.status()["servingRevision"] == first
    assert model.condition("Available")["status"] == "True"
    # Meanwhile status reports the serving pods as they are.
    model.kube.delete("pods", model.namespace, model.kubelet.server_pods("digits")[0]["metadata"]["name"])
    model.wait_for("Available", "False", "NoReplicaReady")
    assert [name for name in ("servingRevision", "readyReplicas") if model.status().get(name)] == []
    model.kubelet.make_servers_ready("digits")
    model.wait_for("Available", "True", "Serving")
    model.change(serving={"podTemplate": None})
    model.wait_for("Ready", "True")


def test_a_rejected_deployment_does_not_block_the_other_children(model: ModelFixture, source: FaultSource) -> None:
    model.create(source.url, serving={"podTemplate": {"spec": {"dnsPolicy": "Nonsense"}}})
    model.kubelet.complete_prepare("digits")
    assert "dnsPolicy" in model.wait_for("Ready", "False", "ApplyFailed")["message"]
    assert model.child("services") is not None
    model.change(serving={"podTemplate": None})
    model.wait_for("Ready", "False", "RollingOut")


def _memory(model: ModelFixture, job: str) -> int:
    prepare = model.wait_for_child("jobs", job)["spec"]["template"]["spec"]["initContainers"][1]
    assert prepare["name"] == "prepare"
    limit: str = prepare["resources"]["limits"]["memory"]
    return int(limit.removesuffix("Mi")) if limit.endswith("Mi") else 1024 * int(limit.removesuffix("Gi"))
