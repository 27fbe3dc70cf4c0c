"""The root cause of a pod's failure, from its status, or else from its Events or its log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from keras_api.log_events import LogEvent
from keras_api.reasons import Reason
from keras_api.step_report import ReportError, StepReport, decode_report
from keras_operator.cache.objects import Pod
from keras_operator.kube.evidence import FAILED_CREATE, LOG, Evidence
from keras_operator.kube.kinds import Object
from keras_operator.kube.times import later, read

# The Events of a pod are read when its status has not changed for this time.
STARTUP_TIMEOUT_SECONDS = 5
# The warm-up of a server takes a while; the log of a server that is not ready after this time is read.
READINESS_TIMEOUT_SECONDS = 30
# The download of a bundle of gigabytes takes a while, too, and so may an init container of the user's podTemplate.
DOWNLOAD_TIMEOUT_SECONDS = 120
# A pod that ended, and is older than this, is no evidence about the pods that replaced it.
HISTORY_SECONDS = 600
# Longer excerpts belong in `kubectl logs`.
MAX_LOG_CHARACTERS = 300

_PULL = {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
# The kubelet alternates between messages with and without these prefixes; the cause follows them.
_PULL_PREFIXES = re.compile(r'^(Back-off pulling image "[^"]*": |ErrImagePull: |rpc error: code = \w+ desc = )+')
_FAILED_PULL = re.compile(r'Failed to pull image "[^"]*": ')
_NO_CAUSE = {"Error: ErrImagePull", "Error: ImagePullBackOff"}
_NO_PREEMPTION = re.compile(r"\.? (no new claims to deallocate, )?preemption: .*$", re.DOTALL)
_GENERATED_NAME = re.compile(r'\bpods "([a-z0-9.-]+)-[a-z0-9]{5}"')
_REPEATED = "(combined from similar events): "
_CREATING = "Error creating: "
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_MOUNT = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}
_DOWNLOAD_EVENTS = {LogEvent.BUNDLE_DOWNLOAD, LogEvent.BUNDLE_DOWNLOAD_RETRY}


class LogLine(NamedTuple):
    """The fields that the operator reads from a line of a container's log (`keras_api.logs`)."""

    message: str = ""
    event: str = ""
    cause: str = ""


class Diagnosis(NamedTuple):
    """Why a pod or Job makes no progress."""

    reason: Reason
    message: str
    exit_code: int | None = None
    container: str = ""
    """The container that ended."""


def cause_of(pod: Pod, now: datetime, evidence: Evidence | None = None) -> Diagnosis | None:
    """The root cause of a pod's failure; None while the pod may still become ready.

    Args:
        pod: the pod.
        now: the time.
        evidence: an Event or log line about it.
    """
    if pod.deleting or pod.ready:
        return None
    return (
        evicted(pod)
        or _from_containers(pod)
        or _from_scheduler(pod)
        or _from_last_run(pod, now, evidence)
        or _from_evidence(pod, now, evidence)
    )


def startup_timeout_at(pod: Pod) -> datetime | None:
    """When a pod should have started its next container; None when its status contains the reason why it has not."""
    if pod.deleting or not pod.created or pod.status.get("phase") != "Pending":
        return None
    if _from_containers(pod) or _from_scheduler(pod):
        return None
    states = [each.get("state", {}) for each in containers(pod)]
    if any("running" in state for state in states):
        return None
    steps = [pod.created]
    steps += [each["lastTransitionTime"] for each in pod.status.get("conditions", []) if each["type"] == "PodScheduled"]
    steps += [state["terminated"]["finishedAt"] for state in states if "terminated" in state]
    return later(max(read(time) for time in steps), STARTUP_TIMEOUT_SECONDS)


def readiness_timeout_at(pod: Pod) -> tuple[datetime, str] | None:
    """When a running container of a server should be ready, and its name; None when no container is late."""
    if pod.deleting or pod.ready or pod.component != "server":
        return None
    patience = {"Pending": DOWNLOAD_TIMEOUT_SECONDS, "Running": READINESS_TIMEOUT_SECONDS}.get(
        pod.status.get("phase", "")
    )
    for container in containers(pod):
        running = container.get("state", {}).get("running")
        if patience and running and running.get("startedAt") and not container.get("ready"):
            times = [running["startedAt"]]
            if pod.status.get("phase") == "Running":  # it may have been ready before
                times += [
                    each["lastTransitionTime"] for each in pod.status.get("conditions", []) if each["type"] == "Ready"
                ]
            return later(max(read(time) for time in times), patience), container["name"]
    return None


def download_timeout_at(unready: datetime) -> datetime:
    """When a server that is not ready should have its bundle; see `readiness_timeout_at`."""
    return later(unready, DOWNLOAD_TIMEOUT_SECONDS - READINESS_TIMEOUT_SECONDS)


def has_been_ready_since(pod: Pod, time: datetime) -> bool:
    """Whether a pod became ready after a time, even if it is not ready now."""
    conditions = pod.status.get("conditions", [])
    return any(each["type"] == "Ready" and read(each["lastTransitionTime"]) > time for each in conditions)


def is_informative(event: Evidence) -> bool:
    """Whether a warning Event explains why a pod makes no progress, when the pod's status does not."""
    # The scheduler's message is in the pod's status; an Event without it there is outdated.
    return event.reason != "FailedScheduling" and event.message not in _NO_CAUSE


def cause_from_event(name: str, evidence: Evidence) -> Diagnosis:
    """The cause in a warning Event about a pod, or about the controller that creates pods."""
    if evidence.reason in _MOUNT:
        return Diagnosis(
            Reason.VOLUME_UNAVAILABLE, f"pod {name}: {evidence.message}: create the missing object, or correct its name"
        )
    if evidence.reason == FAILED_CREATE:
        return _pod_rejected(name, evidence.message)
    if evidence.reason == "Failed" and evidence.container:
        where = f"container {evidence.container} of pod {name}"
        pull = _FAILED_PULL.match(evidence.message)
        if pull:
            return _pull_failed(where, evidence.message[pull.end() :])
        return _misconfigured(where, evidence.message.removeprefix("Error: "))
    return Diagnosis(Reason.NOT_READY, f"{name}: {evidence.reason}: {evidence.message}")


def evicted(pod: Pod) -> Diagnosis | None:
    """Why the kubelet evicted a pod; None when it did not."""
    if pod.status.get("reason") != "Evicted":
        return None
    why = pod.status.get("message", "").strip().removesuffix(".")
    return Diagnosis(
        Reason.EVICTED, f"pod {pod.name} was evicted: {why}: free resources on the node, or increase that limit"
    )


def is_history(pod: Pod, now: datetime) -> bool:
    """Whether a pod ended long ago: other pods have replaced it, and their state counts."""
    ended = pod.status.get("phase") in ("Failed", "Succeeded")
    return ended and bool(pod.created) and (now - read(pod.created)).total_seconds() >= HISTORY_SECONDS


def containers(pod: Pod) -> Iterator[Object]:
    """Statuses of all containers, in the order in which they start."""
    yield from pod.status.get("initContainerStatuses", [])
    yield from pod.status.get("containerStatuses", [])


def step_report(container: Mapping[str, Any]) -> StepReport | None:
    """The step report in a container's termination message; None when it is not one."""
    for state in ("state", "lastState"):
        message = (container.get(state, {}).get("terminated") or {}).get("message")
        if message:
            try:
                return decode_report(message)
            except ReportError:
                return None
    return None


def ended_badly(pod: Pod, container: Mapping[str, Any]) -> Diagnosis | None:
    """Why a container failed, by its own report where it left one; None when it did not end, or succeeded."""
    name = container["name"]
    terminated = _last_end(container)
    if terminated is None:
        return None
    code = int(terminated.get("exitCode", 0))
    if terminated.get("reason") == "OOMKilled":
        remedy = ": increase spec.serving.resources.limits.memory" if pod.component == "server" else ""
        message = f"container {name} of pod {pod.name} was killed at its memory limit{remedy}"
        return Diagnosis(Reason.OUT_OF_MEMORY, message, code, name)
    report = step_report(container)
    if report is not None and report.failure is not None:
        return Diagnosis(report.failure.reason, report.failure.message, code, name)
    lines = (terminated.get("message") or "").splitlines()
    log_end = " ".join(filter(None, (parse_log_line(line).message for line in lines)))[-MAX_LOG_CHARACTERS:]
    detail = f": {log_end}" if log_end else f"; see `kubectl logs {pod.name} -c {name}`"
    return Diagnosis(Reason.CRASH_LOOP, f"container {name} of pod {pod.name} exited with {code}{detail}", code, name)


def last_end_time(container: Mapping[str, Any]) -> datetime:
    """When a container ended for which `ended_badly` found a cause."""
    end = _last_end(container)
    assert end is not None, "only for a container that failed"
    return read(end["finishedAt"])


def _last_end(container: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The failure of a container's present run, or of the previous one if it waits or runs; None when it succeeded."""
    present = container.get("state", {}).get("terminated")
    end: Mapping[str, Any] = present or container.get("lastState", {}).get("terminated") or {}
    return end if end.get("exitCode", 0) != 0 or end.get("reason") == "OOMKilled" else None


def _from_containers(pod: Pod) -> Diagnosis | None:
    for container in containers(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        where = f"container {container['name']} of pod {pod.name}"
        if reason in _PULL:
            return _pull_failed(where, message or reason)
        if reason in _CONFIG:
            return _misconfigured(where, message or reason)
        # A container that was restarted may still become ready; one that waits for its restart is not running.
        if (reason or "terminated" in container.get("state", {})) and (cause := ended_badly(pod, container)):
            return cause
    return None


def _pod_rejected(name: str, message: str) -> Diagnosis:
    """The API server rejects the pod; the message is its own, without the parts that differ at each attempt."""
    why = _GENERATED_NAME.sub(r'pods "\1-*"', message.removeprefix(_REPEATED).removeprefix(_CREATING))
    return Diagnosis(Reason.POD_REFUSED, f"{name}: {why}: change that rule or quota, or the requests of the pod")


def _pull_failed(where: str, why: str) -> Diagnosis:
    why = _PULL_PREFIXES.sub("", why)
    return Diagnosis(Reason.IMAGE_PULL_FAILED, f"{where}: {why}: check the image's name and its pull secret")


def _misconfigured(where: str, why: str) -> Diagnosis:
    lowered = why.lower()
    secret = "secret" in lowered and ("not found" in lowered or "couldn't find key" in lowered)
    return Diagnosis(Reason.SECRET_NOT_FOUND if secret else Reason.NOT_READY, f"{where} cannot be started: {why}")


def _from_scheduler(pod: Pod) -> Diagnosis | None:
    for condition in pod.status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("status") == "False":
            # The rest is about preemption, which was not possible.
            why = _NO_PREEMPTION.sub("", condition.get("message") or condition.get("reason", "")).removesuffix(".")
            if "persistentvolumeclaim" in why.lower():
                remedy = "create that claim, with a volume that it can be bound to, or correct its name"
                return Diagnosis(Reason.VOLUME_UNAVAILABLE, f"pod {pod.name}: {why}: {remedy}")
            remedy = "add or free a node"
            if pod.component == "server":
                remedy += ", or lower the requests in spec.serving (resources, podTemplate)"
            return Diagnosis(Reason.UNSCHEDULABLE, f"pod {pod.name}: {why}: {remedy}")
    return None


def _from_last_run(pod: Pod, now: datetime, evidence: Evidence | None) -> Diagnosis | None:
    """StoreUnavailable, as long as a server that ended with it downloads its bundle again."""
    unready = readiness_timeout_at(pod)
    if unready is None or not (now < unready[0] or _last_log_line(evidence).event in _DOWNLOAD_EVENTS):
        return None
    container = next(each for each in containers(pod) if each["name"] == unready[1])
    cause = ended_badly(pod, container)
    if cause is None or cause.reason != Reason.STORE_UNAVAILABLE:
        return None
    return None if has_been_ready_since(pod, last_end_time(container)) else cause


def _from_evidence(pod: Pod, now: datetime, evidence: Evidence | None) -> Diagnosis | None:
    unready = readiness_timeout_at(pod)
    if unready is not None and now >= unready[0]:
        name, line = unready[1], _last_log_line(evidence)
        if line.event == LogEvent.BUNDLE_DOWNLOAD_RETRY:
            where = f"container {name} of pod {pod.name} cannot download its bundle"
            remedy = "check that the store is running and reachable; running servers are not affected"
            return Diagnosis(Reason.STORE_UNAVAILABLE, f"{where}: {line.cause}: {remedy}")
        downloading = line.event == LogEvent.BUNDLE_DOWNLOAD
        if downloading and now < download_timeout_at(unready[0]):
            return None
        seconds = (
            DOWNLOAD_TIMEOUT_SECONDS
            if downloading or pod.status.get("phase") == "Pending"
            else READINESS_TIMEOUT_SECONDS
        )
        where = f"container {name} of pod {pod.name}"
        last_line = f"; its last log line: {line.message}" if line.message else ""
        message = f"{where} has been running for more than {seconds} s and is not ready{last_line}"
        return Diagnosis(Reason.NOT_READY, f"{message}; see `kubectl logs {pod.name} -c {name}`")
    return None if evidence is None or evidence.reason == LOG else cause_from_event(pod.name, evidence)


def _last_log_line(evidence: Evidence | None) -> LogLine:
    return parse_log_line(evidence.message) if evidence is not None and evidence.reason == LOG else LogLine()


def parse_log_line(text: str) -> LogLine:
    """The fields of a log line in JSON; of any other line, the text as its message. All are cut to a maximum."""
    try:
        entry = json.loads(text)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or not isinstance(entry.get("message"), str):
        entry = {"message": text}
    return LogLine(*(_cut(entry.get(field)) for field in LogLine._fields))


def _cut(value: Any) -> str:
    return " ".join(value.split())[:MAX_LOG_CHARACTERS] if isinstance(value, str) else ""
