"""The root cause of a pod's trouble, read from its status and, where that is silent, from its events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from keras_api.reasons import Reason
from keras_api.report import ReportError, StepReport, decode_report
from keras_operator.kinds import Object
from keras_operator.times import read
from keras_operator.world import Pod

# A pod that has said nothing for so long is asked about by its events.
SILENCE_SECONDS = 10
# A server warms up for a while; one that is still not ready after this is worth a word.
UNREADY_SECONDS = 60
# Last words longer than this are for `kubectl logs`.
MAX_LAST_WORDS = 300

_PULL = {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_MOUNT = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}


class Cause(NamedTuple):
    """Why a pod or Job does not get on."""

    reason: Reason
    message: str
    exit_code: int | None = None


class Clue(NamedTuple):
    """A warning event about a pod or Job."""

    reason: str
    message: str


def cause_of(pod: Pod, now: datetime, clue: Clue | None = None) -> Cause | None:
    """The root cause of a pod's trouble, or None while all may still be well.

    Args:
        pod: the pod.
        now: the time.
        clue: a warning event about it, if one was looked up.
    """
    if pod.deleting or pod.ready:
        return None
    return _from_containers(pod) or _from_conditions(pod, now) or _from_clue(pod, clue)


def is_silent(pod: Pod, now: datetime) -> bool:
    """Whether a pod hangs before its first container and its status does not say why."""
    if pod.deleting or not pod.created or pod.status.get("phase") != "Pending" or cause_of(pod, now) is not None:
        return False
    states = [each.get("state", {}) for each in containers(pod)]
    started = any("running" in state or "terminated" in state for state in states)
    return not started and (now - read(pod.created)).total_seconds() >= SILENCE_SECONDS


def cause_from_event(name: str, clue: Clue) -> Cause:
    """What a warning event about a pod, Job or ReplicaSet means."""
    if clue.reason in _MOUNT:
        return Cause(Reason.VOLUME_UNAVAILABLE, f"pod {name}: {clue.message}")
    if clue.reason == "FailedCreate":
        return Cause(Reason.POD_REFUSED, f"{name}: {clue.message}")
    if clue.reason == "FailedScheduling":
        return Cause(Reason.UNSCHEDULABLE, f"pod {name}: {clue.message}")
    return Cause(Reason.NOT_READY, f"{name}: {clue.reason}: {clue.message}")


def containers(pod: Pod) -> Iterator[Object]:
    """Statuses of all containers, in the order in which they start."""
    yield from pod.status.get("initContainerStatuses", [])
    yield from pod.status.get("containerStatuses", [])


def step_report(container: Mapping[str, Any]) -> StepReport | None:
    """The report that a container left at its end, if it is one."""
    for state in ("state", "lastState"):
        message = (container.get(state, {}).get("terminated") or {}).get("message")
        if message:
            try:
                return decode_report(message)
            except ReportError:
                return None
    return None


def ended_badly(pod: Pod, container: Mapping[str, Any]) -> Cause | None:
    """Why a container ended, in its own words where it left some; None when it did not end, or well."""
    name = container["name"]
    terminated = _last_end(container)
    if terminated is None:
        return None
    code = int(terminated.get("exitCode", 0))
    if terminated.get("reason") == "OOMKilled":
        return Cause(
            Reason.OUT_OF_MEMORY, f"container {name} of pod {pod.name} was killed at its memory limit", exit_code=code
        )
    report = step_report(container)
    if report is not None and report.failure is not None:
        return Cause(report.failure.reason, report.failure.message, exit_code=code)
    words = " ".join((terminated.get("message") or "").split())[-MAX_LAST_WORDS:]
    said = f": {words}" if words else f"; see `kubectl logs {pod.name} -c {name}`"
    return Cause(Reason.CRASH_LOOP, f"container {name} of pod {pod.name} exited with {code}{said}", exit_code=code)


def last_end_time(container: Mapping[str, Any]) -> datetime:
    """When a container ended that `ended_badly`."""
    end = _last_end(container)
    assert end is not None, "asked only of a container that ended"
    return read(end["finishedAt"])


def _last_end(container: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The end of a container's present run, or of the one before if it waits or runs; None when it ended well."""
    present = container.get("state", {}).get("terminated")
    end: Mapping[str, Any] = present or container.get("lastState", {}).get("terminated") or {}
    return end if end.get("exitCode", 0) != 0 or end.get("reason") == "OOMKilled" else None


def _from_containers(pod: Pod) -> Cause | None:
    for container in containers(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        where = f"container {container['name']} of pod {pod.name}"
        if reason in _PULL:
            return Cause(Reason.IMAGE_PULL_FAILED, f"{where}: {message or reason}")
        if reason in _CONFIG:
            return Cause(_config_reason(message), f"{where}: {reason}: {message}")
        # A container that runs again after an end may yet turn ready; one that waits for its next start does not run.
        if (reason or "terminated" in container.get("state", {})) and (cause := ended_badly(pod, container)):
            return cause
    return None


def _config_reason(message: str) -> Reason:
    lowered = message.lower()
    if "secret" in lowered and ("not found" in lowered or "couldn't find key" in lowered):
        return Reason.SECRET_NOT_FOUND
    return Reason.NOT_READY


def _from_conditions(pod: Pod, now: datetime) -> Cause | None:
    conditions = {each["type"]: each for each in pod.status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return Cause(Reason.UNSCHEDULABLE, f"pod {pod.name}: {scheduled.get('message') or scheduled.get('reason')}")
    if pod.status.get("phase") == "Failed" and pod.status.get("reason"):
        return Cause(Reason.NOT_READY, f"pod {pod.name}: {pod.status['reason']}: {pod.status.get('message', '')}")
    running = [each["state"]["running"] for each in containers(pod) if "running" in each.get("state", {})]
    ready = conditions.get("Ready", {})
    if running and pod.status.get("phase") == "Running" and ready.get("lastTransitionTime"):
        waited = (now - read(ready["lastTransitionTime"])).total_seconds()
        if waited >= UNREADY_SECONDS:
            said = ready.get("message") or "its readiness probe fails"
            return Cause(Reason.NOT_READY, f"pod {pod.name} runs for more than {UNREADY_SECONDS} s unready: {said}")
    return None


def _from_clue(pod: Pod, clue: Clue | None) -> Cause | None:
    return None if clue is None else cause_from_event(pod.name, clue)
