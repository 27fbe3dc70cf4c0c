"""The state of a task: a pure function of its Job, the Job's pods and what is known of its output.

It is the same for every task: attempts with exponential backoff, more memory after a kill, a deadline, and the reports
that the Job's steps leave in their termination messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from keras_api.reasons import Reason
from keras_api.resource import KerasModel
from keras_api.step_report import StepReport
from keras_operator.cache.objects import Child, Pod
from keras_operator.diagnosis.pods import (
    Diagnosis,
    cause_from_event,
    cause_of,
    containers,
    ended_badly,
    evicted,
    step_report,
)
from keras_operator.kube.times import later, read
from keras_operator.naming.sizing import USUAL, Memory
from keras_operator.state.conditions import find_condition
from keras_operator.state.failure import Failure, is_terminal
from keras_operator.state.observed import Observed
from keras_operator.tasks.base import Task

# Two watches report the end of a Job and the termination messages of its pod: one may be a little ahead.
REPORT_GRACE_SECONDS = 5
# The Events of a Job are read when it has had no pod for this time.
NO_POD_SECONDS = 3
# Pauses before a failed Job is retried double from the first to the last.
FIRST_PAUSE_SECONDS = 10
LONGEST_PAUSE_SECONDS = 600
# One retry with more memory after the kernel killed a container.
MEMORY_FACTOR_AFTER_KILL = 2

# Reason of the Job controller when a Job takes longer than its deadline.
DEADLINE_EXCEEDED = "DeadlineExceeded"

TWICE_THE_MEMORY = "the operator retries once with twice the memory"


@dataclass(frozen=True, kw_only=True)
class TaskState:
    """State of a task."""

    attempt: int = 1
    memory: Memory = USUAL
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class NotStarted(TaskState):
    """The Job must be created, in place of a finished one of the same name; `failure` is that of the last attempt."""


@dataclass(frozen=True, kw_only=True)
class Running(TaskState):
    """The Job runs; `failure` is an obstacle to its progress."""

    check_at: datetime | None = None
    """When to reconcile again without an event."""


@dataclass(frozen=True, kw_only=True)
class Retrying(TaskState):
    """The Job failed, and the next attempt starts at `retry_at`."""

    failure: Failure
    retry_at: datetime


@dataclass(frozen=True, kw_only=True)
class Failed(TaskState):
    """The Job failed; manual intervention is required."""

    failure: Failure


@dataclass(frozen=True, kw_only=True)
class Succeeded(TaskState):
    """The output is in the store."""

    result: Any


class _End(NamedTuple):
    """How a Job ended."""

    succeeded: bool
    reason: str
    message: str
    at: datetime


def task_state(task: Task, model: KerasModel, observed: Observed) -> TaskState:
    """The state of a task for the desired revision, which must be known."""
    job = observed.job(task.job_name(model, observed))
    known = task.known_result(model, observed)
    if known is not None:
        loss = task.loss(observed)
        if loss is None or (job is not None and _succeeded_since(job, loss.at)):
            return Succeeded(result=known)
        if job is not None and _succeeded_since(job, None):
            return NotStarted()  # in place of the Job whose output is lost
    elif may_be_stored(task, model, observed) and (stored := task.stored_result(observed)) is not None:
        return Succeeded(result=stored)
    if job is None or job.controller != model.metadata.uid:
        return NotStarted()
    if job.deleting:
        return Running(attempt=job.attempt)
    ended = _end_of(job)
    pods = sorted(observed.pods_of(job), key=lambda pod: pod.created, reverse=True)
    if ended is None:
        return _running(task, model, job, pods, observed)
    if ended.succeeded:
        return _succeeded(task, job, pods, observed, ended)
    if ended.reason == DEADLINE_EXCEEDED:
        return Failed(failure=_deadline_failure(task, model, job, pods, observed), attempt=job.attempt)
    return _failed(task, job, pods, observed, ended)


def may_be_stored(task: Task, model: KerasModel, observed: Observed) -> bool:
    """Whether only the store can show that the output exists.

    The output may be from an earlier spec, or from an earlier model of the same name: neither a Job nor status has
    it. When a serving pod has found the output damaged, its manifest proves nothing.
    """
    if not observed.revision:
        return False
    job = observed.job(task.job_name(model, observed))
    own = job is not None and job.controller == model.metadata.uid
    return not own and task.known_result(model, observed) is None and task.loss(observed) is None


def pod_creation_deadline(job: Child, observed: Observed) -> datetime | None:
    """When a Job should have a pod; None once it has one, or has ended."""
    if job.deleting or _end_of(job) is not None or observed.pods_of(job):
        return None
    started = job.status.get("startTime")
    return later(read(started), NO_POD_SECONDS) if started else None


def _succeeded_since(job: Child, time: datetime | None) -> bool:
    ended = _end_of(job)
    return ended is not None and ended.succeeded and (time is None or ended.at >= time)


def _running(task: Task, model: KerasModel, job: Child, pods: list[Pod], observed: Observed) -> TaskState:
    if _exceeds_deadline(job):
        failure: Failure | None = _deadline_failure(task, model, job, pods, observed)
    else:
        cause, loss = _obstacle(job, pods, observed), task.loss(observed)
        if cause is not None:
            failure = Failure(task.name, cause.reason, cause.message, job.revision)
        else:
            failure = Failure("serve", Reason.BUNDLE_INVALID, loss.message, job.revision) if loss else None
    return Running(failure=failure, attempt=job.attempt, memory=job.memory)


def _obstacle(job: Child, pods: list[Pod], observed: Observed) -> Diagnosis | None:
    """Why a running Job makes no progress."""
    for pod in pods:
        # Kubernetes replaces an evicted pod. A container that fails ends the Job, which is reported in detail.
        if pod.status.get("phase") == "Failed":
            continue
        cause = cause_of(pod, observed.now, observed.evidence.get(pod.uid))
        if cause is not None and cause.exit_code is None:
            return cause
    if not pods and job.uid in observed.evidence:
        return cause_from_event(job.ref.name, observed.evidence[job.uid])
    return None


def _succeeded(task: Task, job: Child, pods: list[Pod], observed: Observed, ended: _End) -> TaskState:
    for report in _reports([*pods, *observed.removed_pods_of(job)]):
        if report.revision == observed.revision and (result := task.result(report)) is not None:
            return Succeeded(result=result, attempt=job.attempt)
    grace = later(ended.at, REPORT_GRACE_SECONDS)
    if observed.now < grace:
        return Running(attempt=job.attempt, memory=job.memory, check_at=grace)
    # The pod was deleted before its report was read. Another run is cheap: the output is in the store.
    return NotStarted(attempt=job.attempt + 1, memory=job.memory)


def _failed(task: Task, job: Child, pods: list[Pod], observed: Observed, ended: _End) -> TaskState:
    # Of a pod that was deleted only a report counts: its containers were killed because of the deletion.
    reported = [pod for pod in observed.removed_pods_of(job) if any(each.failure for each in _reports([pod]))]
    causes = [cause for pod in [*pods, *reported] if (cause := _cause_of_end(pod))]
    if not causes and pods == [] and observed.now < (grace := later(ended.at, REPORT_GRACE_SECONDS)):
        return Running(attempt=job.attempt, memory=job.memory, check_at=grace)
    cause, memory = _judge(task, job, pods, causes, ended.message)
    failure = Failure(task.name, cause.reason, cause.message, job.revision, cause.exit_code, final=memory is None)
    if memory is None:
        return Failed(failure=failure, attempt=job.attempt, memory=job.memory)
    pause = min(FIRST_PAUSE_SECONDS * 2 ** (job.attempt - 1), LONGEST_PAUSE_SECONDS)
    due = later(ended.at, pause)
    if observed.now >= due:
        return NotStarted(failure=failure, attempt=job.attempt + 1, memory=memory)
    return Retrying(failure=failure, attempt=job.attempt + 1, memory=memory, retry_at=due)


def _cause_of_end(pod: Pod) -> Diagnosis | None:
    """Why a pod of a Job failed."""
    return evicted(pod) or next(filter(None, (ended_badly(pod, each) for each in containers(pod))), None)


def _judge(
    task: Task, job: Child, pods: list[Pod], causes: list[Diagnosis], job_message: str
) -> tuple[Diagnosis, Memory | None]:
    """The cause of a Job's failure, and the memory of the next attempt; None when a retry cannot help."""
    if not causes:
        why = "its pod left no report, as when it is deleted or its node is lost"
        message = f"Job {job.ref.name}: {job_message}; {why}: the operator retries"
        return Diagnosis(task.failed, message), job.memory
    cause = causes[0]
    if cause.reason == Reason.OUT_OF_MEMORY:
        memory, outlook = _more_memory(task, job, cause.container, pods)
        return cause._replace(message=f"{cause.message}: {outlook}"), memory
    if cause.reason == Reason.CRASH_LOOP:
        cause = cause._replace(reason=task.failed)
    return cause, None if is_terminal(cause.reason) else job.memory


def _more_memory(task: Task, job: Child, container: str, pods: list[Pod]) -> tuple[Memory | None, str]:
    """The memory of the next attempt after a kill, and a message; None when there is no next attempt."""
    mib, factor = job.memory
    # When the operator created the Job, the sizes that its steps report may have been unknown.
    usual = task.usual_memory(container, _reports(pods))
    if usual is not None and usual[0] > mib * factor:
        return Memory(usual[0], factor), usual[1]
    if factor < MEMORY_FACTOR_AFTER_KILL:
        return Memory(mib, MEMORY_FACTOR_AFTER_KILL), TWICE_THE_MEMORY
    return None, task.memory_remedy


def _deadline_failure(task: Task, model: KerasModel, job: Child, pods: list[Pod], observed: Observed) -> Failure:
    """The failure of a Job at its deadline, with its last activity; only status keeps that once the pod is deleted."""
    condition = find_condition(model.status, task.condition)
    current = condition is not None and model.status.desired_revision == job.revision
    if condition is not None and current and condition.reason == Reason.DEADLINE_EXCEEDED:
        message = condition.message
    else:
        if condition is not None and current and condition.reason != task.running:
            doing = condition.message
        else:
            candidates = [*pods, *observed.removed_pods_of(job)]
            doing = next(filter(None, (_activity(task, model, pod) for pod in candidates)), "its pod no longer exists")
        message = f"Job {job.ref.name} took longer than its deadline: {doing}; {task.deadline_remedy}"
    return Failure(task.name, Reason.DEADLINE_EXCEEDED, message, job.revision, final=True)


def _activity(task: Task, model: KerasModel, pod: Pod) -> str:
    """The activity of the first container of a pod that has not succeeded."""
    for container in containers(pod):
        if container.get("state", {}).get("terminated", {}).get("exitCode") != 0:
            name = container["name"]
            return f"container {name} of pod {pod.name} was still {task.activity(model, name)}"
    return ""


def _reports(pods: list[Pod]) -> Iterator[StepReport]:
    return filter(None, (step_report(container) for pod in pods for container in containers(pod)))


def _exceeds_deadline(job: Child) -> bool:
    """Whether Kubernetes deletes a Job's pods because of its deadline."""
    return any(
        (each["type"], each["status"], each.get("reason")) == ("FailureTarget", "True", DEADLINE_EXCEEDED)
        for each in job.status.get("conditions", [])
    )


def _end_of(job: Child) -> _End | None:
    """How a Job ended; None while it runs."""
    for condition in job.status.get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return _End(
                condition["type"] == "Complete",
                condition.get("reason", ""),
                condition.get("message", ""),
                read(condition["lastTransitionTime"]),
            )
    return None
