"""A model's objects on the cluster: its prepare Job, pods and Events, and the delay until a failure is reported."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import kubectl as k8s
from environment_faults import SYSTEM
from keras_models import Model, condition, until

# A server that is not ready for longer than this has failed.
UNREADY_SECONDS = 30


def desired_revision(model: Model) -> str:
    """The desired revision of the present spec, once it is known and differs from the one that is served."""
    found: list[str] = []

    def is_known() -> bool:
        resource = model.resource
        revision = resource.get("status", {}).get("desiredRevision", "")
        if condition(resource, "Ready") and revision not in ("", resource["status"].get("servingRevision", "")):
            found.append(revision)
        return bool(found)

    until(is_known, f"the revision of {model.name} is known")
    return found[0]


def of_desired_revision(model: Model, kind: str) -> list[dict[str, Any]]:
    labels = {
        "keras-operator.dev/model": model.name,
        "keras-operator.dev/revision": desired_revision(model),
        "app.kubernetes.io/component": "prepare",
    }
    return k8s.get_list(kind, model.namespace, ",".join(f"{key}={value}" for key, value in labels.items()))


def prepare_jobs(model: Model) -> list[dict[str, Any]]:
    return of_desired_revision(model, "job")


def prepare_pods(model: Model) -> list[dict[str, Any]]:
    return of_desired_revision(model, "pod")


def is_failed(job: dict[str, Any]) -> bool:
    return any(each["type"] == "Failed" for each in job["status"].get("conditions", []))


def attempt(model: Model) -> int:
    """The number of the prepare Job's attempt; 0 while there is no Job."""
    jobs = prepare_jobs(model)
    return int(jobs[0]["metadata"]["annotations"]["keras-operator.dev/attempt"]) if jobs else 0


def fetching_pod(model: Model) -> str:
    """The name of the prepare pod, once its container `fetch` is running."""
    found: list[str] = []

    def is_running() -> bool:
        for pod in prepare_pods(model):
            states = [each["state"] for each in pod["status"].get("initContainerStatuses", [])]
            if states and "running" in states[0] and "deletionTimestamp" not in pod["metadata"]:
                found.append(pod["metadata"]["name"])
        return bool(found)

    until(is_running, f"{model.name} is being fetched", timeout=90)
    return found[0]


def remaining_server(model: Model) -> str:
    """The name of a serving pod that is not being deleted."""
    pods = k8s.get_list("pod", model.namespace, model.status["selector"])
    return next(pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"])


def operator_pod() -> dict[str, Any]:
    pods = k8s.get_list("pod", SYSTEM, "app.kubernetes.io/component=operator")
    (pod,) = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
    return pod


def restarts(pod: dict[str, Any]) -> int:
    return sum(each["restartCount"] for each in pod["status"]["containerStatuses"])


def warnings(model: Model) -> list[dict[str, Any]]:
    """Warning Events about a KerasModel, the oldest first."""
    events = k8s.get_list("event", model.namespace)
    about = [
        each
        for each in events
        if each["involvedObject"]["kind"] == "KerasModel"
        and each["involvedObject"]["name"] == model.name
        and each["type"] == "Warning"
    ]
    return sorted(about, key=lambda each: int(each["metadata"]["resourceVersion"]))


def uids(namespace: str) -> set[str]:
    """The uids of all pods and Events in a namespace."""
    return {obj["metadata"]["uid"] for kind in ("pod", "event") for obj in k8s.get_list(kind, namespace)}


def seconds_until_reported(model: Model, failure: dict[str, Any], before: set[str] = frozenset()) -> float:
    """Seconds from the first symptom in the cluster to the report in status, by the timestamps of the API."""
    times = list(symptoms(model, before))
    assert times, "no symptom in the cluster"
    return (datetime.fromisoformat(failure["time"]) - min(times)).total_seconds()


def symptoms(model: Model, before: set[str]) -> Iterator[datetime]:
    """The times of new symptoms: a container that failed, a warning Event, a server that is not ready for too long."""
    for pod in k8s.get_list("pod", model.namespace, f"keras-operator.dev/model={model.name}"):
        if pod["metadata"]["uid"] in before:
            continue
        status = pod["status"]
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            for state in (container["state"], container["lastState"]):
                ended = state.get("terminated", {})
                # The kubelet does not know when a container ended that no longer exists, as after an eviction.
                if ended.get("exitCode") and ended.get("finishedAt"):
                    yield datetime.fromisoformat(ended["finishedAt"])
            if "running" in container["state"] and not container["ready"]:
                since = datetime.fromisoformat(container["state"]["running"]["startedAt"])
                yield since + timedelta(seconds=UNREADY_SECONDS)
    scheduled = {pod["metadata"]["name"] for pod in k8s.get_list("pod", model.namespace) if pod["spec"].get("nodeName")}
    for event in k8s.get_list("event", model.namespace):
        about = event["involvedObject"]
        if event["reason"] == "FailedScheduling" and about["name"] in scheduled:
            continue  # the pod is scheduled by now
        # Probes that fail while a server starts are no symptom.
        if event["metadata"]["uid"] in before or event["type"] != "Warning" or event["reason"] == "Unhealthy":
            continue
        if about["kind"] != "KerasModel" and about["name"].startswith(model.name):
            yield datetime.fromisoformat(event["metadata"]["creationTimestamp"])
