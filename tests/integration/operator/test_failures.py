"""What goes wrong, and what the status says of it: sources, Jobs, pods."""

from __future__ import annotations

import base64
import time

import pytest
from fault_source import Source
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

from keras_api.reasons import Reason


@pytest.fixture
def scene(kube: Kube, namespace: str, operator: OperatorProcess) -> ModelFixture:
    return ModelFixture(kube, namespace)


@pytest.mark.parametrize(("status", "reason"), [(404, "SourceNotFound"), (403, "SourceAccessDenied")])
def test_a_source_that_refuses_is_named_and_asked_again(
    scene: ModelFixture, source: Source, status: int, reason: str
) -> None:
    source.status = status
    scene.create(source.url)
    ready = scene.wait_for("Ready", "False", reason)
    assert source.url in ready["message"]
    assert scene.condition("Reconciling")["status"] == "True"
    assert scene.status()["lastFailure"]["step"] == "resolve"
    source.status = 200
    scene.wait_for("Ready", "False", "Preparing")


def test_a_missing_secret_is_named_and_read_once_it_is_there(scene: ModelFixture, source: Source) -> None:
    source.token = "s3cret"
    scene.create(source.url, source={"secretRef": {"name": "reader"}})
    ready = scene.wait_for("Ready", "False", "SecretNotFound")
    assert "reader" in ready["message"]
    data = {"HTTP_BEARER_TOKEN": base64.b64encode(b"s3cret").decode()}
    metadata = {"name": "reader", "namespace": scene.namespace}
    scene.kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    scene.wait_for("Ready", "False", "Preparing")
    job = scene.wait_for_child("jobs", f"digits-prepare-{scene.status()['desiredRevision']}")
    pod = job["spec"]["template"]["spec"]
    with_secret = [
        each["name"]
        for each in [*pod["initContainers"], *pod["containers"]]
        if {"secretRef": {"name": "reader"}} in each.get("envFrom", [])
    ]
    assert with_secret == ["fetch"]


def test_a_source_that_vanishes_leaves_what_is_served_alone(scene: ModelFixture, source: Source) -> None:
    first = scene.serve(source.url, source={"pollInterval": "10s"})
    source.status = 404
    failure = wait_until(lambda: scene.status().get("lastFailure"), "the failure to be noted")
    assert (failure["step"], failure["reason"]) == ("resolve", "SourceNotFound")
    assert scene.condition("Ready")["status"] == "True"
    assert scene.status()["servingRevision"] == first


def test_a_wrong_new_address_leaves_the_old_revision_served(scene: ModelFixture, source: Source) -> None:
    first = scene.serve(source.url)
    source.status = 404
    scene.change(source={"uri": source.url.replace("digits", "gone")})
    scene.wait_for("Ready", "False", "SourceNotFound")
    assert scene.condition("Available")["status"] == "True"
    assert scene.status()["servingRevision"] == first
    assert scene.wait_for_child("deployments")["status"]["readyReplicas"] == 1


def test_a_model_that_cannot_be_served_waits_for_a_human(scene: ModelFixture, source: Source) -> None:
    scene.create(source.url)
    scene.kubelet.fails("digits", Reason.MODEL_UNSAFE, "the layer lambda_1 is a Lambda")
    stalled = scene.wait_for("Stalled", "True", "ModelUnsafe")
    assert stalled["message"] == "the layer lambda_1 is a Lambda"
    assert scene.condition("Reconciling")["status"] == "False"
    failure = scene.status()["lastFailure"]
    assert (failure["step"], failure["exitCode"]) == ("prepare", 1)
    job = f"digits-prepare-{failure['revision']}"
    assert scene.child("jobs", job) is not None

    # Deleting the failed Job is how to ask for another try.
    scene.kube.delete("jobs", scene.namespace, job)
    scene.wait_for("Ready", "False", "Preparing")
    scene.wait_for_child("jobs", job)


def test_a_failure_that_may_pass_is_tried_again_after_a_pause(scene: ModelFixture, source: Source) -> None:
    scene.create(source.url)
    scene.kubelet.fails("digits", Reason.STORE_UNAVAILABLE, "the store does not answer")
    scene.wait_for("Ready", "False", "StoreUnavailable")
    assert scene.condition("Reconciling")["status"] == "True"
    scene.wait_for("Ready", "False", "Preparing")
    scene.kubelet.prepares("digits")
    scene.wait_for("Ready", "False", "RollingOut")


def test_a_file_replaced_before_it_was_fetched_is_looked_at_again_at_once(scene: ModelFixture, source: Source) -> None:
    scene.create(source.url, source={"pollInterval": "1h"})
    first = wait_until(lambda: scene.status().get("desiredRevision"), "a revision")
    source.content = b"a better model"
    scene.kubelet.fails("digits", Reason.SOURCE_CHANGED, "the file was replaced after it was polled")
    second = wait_until(
        lambda: (found := scene.status()["desiredRevision"]) != first and found, "the new file to be noticed"
    )
    scene.wait_for_child("jobs", f"digits-prepare-{second}")


def test_a_prepare_job_out_of_memory_gets_twice_as_much_once(scene: ModelFixture, source: Source) -> None:
    scene.create(source.url)
    job = f"digits-prepare-{wait_until(lambda: scene.status().get('desiredRevision'), 'a revision')}"
    limit = _memory(scene, job)
    scene.kubelet.runs_out_of_memory("digits", len(source.content))
    scene.wait_for("Ready", "False", "OutOfMemory")
    wait_until(lambda: _memory(scene, job) == 2 * limit, "a Job with twice the memory")
    scene.kubelet.runs_out_of_memory("digits", len(source.content))
    scene.wait_for("Stalled", "True", "OutOfMemory")


def test_a_file_larger_than_was_assumed_gets_the_memory_that_it_takes(scene: ModelFixture) -> None:
    """Nobody but the fetch step can see how large a file on a claim is."""
    scene.create("pvc://models/large.keras")
    job = f"digits-prepare-{wait_until(lambda: scene.status().get('desiredRevision'), 'a revision')}"
    assumed = _memory(scene, job)
    scene.kubelet.runs_out_of_memory("digits", 1 << 30)
    assert (
        "the memory that a model file of 1073741824 bytes usually needs"
        in scene.wait_for("Ready", "False", "OutOfMemory")["message"]
    )
    larger = wait_until(lambda: (found := _memory(scene, job)) > 2 * assumed and found, "a Job with more memory")
    scene.kubelet.runs_out_of_memory("digits", 1 << 30)
    wait_until(lambda: _memory(scene, job) == 2 * larger, "a Job with twice the memory", timeout=60)
    scene.kubelet.runs_out_of_memory("digits", 1 << 30)
    assert "increase the chart value prepare.memory" in scene.wait_for("Stalled", "True", "OutOfMemory")["message"]


def test_a_lost_report_is_had_again_by_another_run(scene: ModelFixture, source: Source) -> None:
    scene.create(source.url)
    job = f"digits-prepare-{wait_until(lambda: scene.status().get('desiredRevision'), 'a revision')}"
    uid = scene.wait_for_child("jobs", job)["metadata"]["uid"]
    pod = scene.kubelet.prepare_pod("digits")
    scene.kubelet.says(pod, phase="Succeeded")
    wait_until(lambda: scene.wait_for_child("jobs", job)["metadata"]["uid"] != uid, "another Job")
    scene.kubelet.prepares("digits")
    scene.wait_for("Ready", "False", "RollingOut")


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        (("ImagePullBackOff", 'Back-off pulling image "x"'), "ImagePullFailed"),
        (("CreateContainerConfigError", 'secret "reader" not found'), "SecretNotFound"),
    ],
)
def test_a_serving_pod_that_cannot_start_is_named_with_its_cause(
    scene: ModelFixture, source: Source, waiting: tuple[str, str], reason: str
) -> None:
    scene.create(source.url)
    scene.kubelet.prepares("digits")
    pod = scene.kubelet.server_pods("digits")[0]
    scene.kubelet.waits(pod, "server", *waiting)
    ready = scene.wait_for("Ready", "False", reason)
    assert pod["metadata"]["name"] in ready["message"]
    assert waiting[1] in ready["message"]
    scene.kubelet.turns_ready(pod)
    scene.wait_for("Ready", "True")
    assert scene.status()["lastFailure"]["reason"] == reason


def test_a_crashing_server_is_told_with_its_last_words(scene: ModelFixture, source: Source) -> None:
    scene.create(source.url)
    scene.kubelet.prepares("digits")
    pod = scene.kubelet.server_pods("digits")[0]
    last = {"exitCode": 3, "reason": "Error", "message": "keras_server: golden outputs differ"}
    scene.kubelet.waits(
        pod, "server", "CrashLoopBackOff", "back-off 10s", restartCount=3, lastState={"terminated": last}
    )
    ready = scene.wait_for("Ready", "False", "CrashLoop")
    assert "golden outputs differ" in ready["message"]
    assert scene.status()["lastFailure"]["exitCode"] == 3


def test_a_bundle_that_the_store_lost_is_prepared_again(scene: ModelFixture, source: Source) -> None:
    first = scene.serve(source.url)
    job = scene.wait_for_child("jobs", f"digits-prepare-{first}")
    scene.kube.delete("pods", scene.namespace, scene.kubelet.server_pods("digits")[0]["metadata"]["name"])
    wait_until(lambda: scene.status().get("readyReplicas", 0) == 0, "the pod to go")
    time.sleep(1.1)  # times in Kubernetes are whole seconds: the loss must come after the Job's end
    scene.kubelet.misses_its_bundle(scene.kubelet.server_pods("digits")[0])
    wait_until(
        lambda: scene.wait_for_child("jobs", job["metadata"]["name"])["metadata"]["uid"] != job["metadata"]["uid"],
        "another Job",
    )
    scene.kubelet.prepares("digits")
    scene.kubelet.serves("digits")
    scene.wait_for("Ready", "True")


def test_a_pod_without_a_place_is_told_in_the_schedulers_words(scene: ModelFixture, source: Source) -> None:
    scene.create(source.url)
    pod = scene.kubelet.prepare_pod("digits")
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes: no memory",
    }
    scene.kubelet.says(pod, conditions=[condition])
    assert "0/1 nodes: no memory" in scene.wait_for("Ready", "False", "Unschedulable")["message"]


QUOTA: tuple[str, Object] = ("ResourceQuota", {"hard": {"pods": "0"}})
LIMITS: tuple[str, Object] = ("LimitRange", {"limits": [{"type": "Container", "min": {"cpu": "2"}}]})


def test_a_quota_that_refuses_the_prepare_pod_is_told(scene: ModelFixture, source: Source) -> None:
    scene.rule(*QUOTA)
    scene.create(source.url)
    assert "exceeded quota" in scene.wait_for("Ready", "False", "PodRefused")["message"]


def test_a_refusal_is_told_of_the_present_pods_and_rule(scene: ModelFixture, source: Source) -> None:
    # The Deployment says the first refusal for as long as there is one, of whichever template and rule it was.
    scene.serve(source.url)
    remove_quota = scene.rule(*QUOTA)
    scene.change(serving={"podTemplate": {"metadata": {"labels": {"try": "1"}}}})
    assert "exceeded quota" in scene.wait_for("Ready", "False", "PodRefused")["message"]
    remove_limits = scene.rule(*LIMITS)
    remove_quota()
    _wait_for_words(scene, "minimum cpu usage per Container is 2")
    for attempt in ("2", "3", "4"):
        scene.change(serving={"podTemplate": {"metadata": {"labels": {"try": attempt}}}})
        told = scene.wait_for("Ready", "False", "PodRefused")["message"]
        template = _present_replica_set(scene)
        assert f'pods "{template}-*" is forbidden: minimum cpu usage per Container is 2' in told
    remove_limits()
    scene.kubelet.serves("digits", 2)
    scene.wait_for("Ready", "True")


def _wait_for_words(scene: ModelFixture, words: str) -> None:
    wait_until(lambda: words in scene.condition("Ready")["message"], f"Ready to say {words!r}")


def _present_replica_set(scene: ModelFixture) -> str:
    """The name of the ReplicaSet made last."""
    found = scene.kube.list("replicasets", scene.namespace)
    counted = "deployment.kubernetes.io/revision"
    newest = max(found, key=lambda each: int(each["metadata"]["annotations"][counted]))
    return str(newest["metadata"]["name"])


def test_a_pod_template_that_cannot_be_merged_is_a_spec_error(scene: ModelFixture, source: Source) -> None:
    first = scene.serve(source.url)
    scene.change(serving={"podTemplate": {"spec": {"containers": [{"image": "x"}]}}})
    stalled = scene.wait_for("Stalled", "True", "SpecInvalid")
    assert "spec.serving.podTemplate.spec.containers[0]" in stalled["message"]
    assert scene.status()["servingRevision"] == first
    assert scene.condition("Available")["status"] == "True"
    # What is served is told all the while, and nothing that is not.
    scene.kube.delete("pods", scene.namespace, scene.kubelet.server_pods("digits")[0]["metadata"]["name"])
    scene.wait_for("Available", "False", "NoReplicaReady")
    assert [name for name in ("servingRevision", "readyReplicas") if scene.status().get(name)] == []
    scene.kubelet.serves("digits")
    scene.wait_for("Available", "True", "Serving")
    scene.change(serving={"podTemplate": None})
    scene.wait_for("Ready", "True")


def test_a_deployment_that_the_api_refuses_does_not_hold_back_the_rest(scene: ModelFixture, source: Source) -> None:
    scene.create(source.url, serving={"podTemplate": {"spec": {"dnsPolicy": "Nonsense"}}})
    scene.kubelet.prepares("digits")
    assert "dnsPolicy" in scene.wait_for("Ready", "False", "ApplyFailed")["message"]
    assert scene.child("services") is not None
    scene.change(serving={"podTemplate": None})
    scene.wait_for("Ready", "False", "RollingOut")


def _memory(scene: ModelFixture, job: str) -> int:
    prepare = scene.wait_for_child("jobs", job)["spec"]["template"]["spec"]["initContainers"][1]
    assert prepare["name"] == "prepare"
    limit: str = prepare["resources"]["limits"]["memory"]
    return int(limit.removesuffix("Mi")) if limit.endswith("Mi") else 1024 * int(limit.removesuffix("Gi"))
