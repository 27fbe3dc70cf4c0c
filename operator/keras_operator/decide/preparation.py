"""How far the wanted revision's preparation has got, and what to do next: a pure reading of the prepare Job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from keras_api.manifest import ModelSummary
from keras_api.reasons import ConditionType, Reason
from keras_api.resource import KerasModel
from keras_operator.cache.objects import Child, Pod
from keras_operator.diagnosis.pods import (
    Diagnosis,
    cause_from_event,
    cause_of,
    containers,
    ended_badly,
    evicted,
    has_been_ready_since,
    last_end_time,
    step_report,
)
from keras_operator.kube.times import later, read
from keras_operator.naming.sizing import USUAL, Memory, prepare_mib
from keras_operator.state.conditions import find_condition
from keras_operator.state.failure import Failure, needs_human
from keras_operator.state.observed import Observed
from keras_store.redaction import public_url

# The Job's end and its pod's last words come by two watches: the one may be a little ahead of the other.
REPORT_GRACE_SECONDS = 5
# A Job that has made no pod for so long is asked about by its events.
PODLESS_SECONDS = 3
# Pauses before a failed Job is tried again double from the first to the last.
FIRST_PAUSE_SECONDS = 10
LONGEST_PAUSE_SECONDS = 600
# One more chance with more memory after the kernel killed the Job.
MEMORY_FACTOR_AFTER_KILL = 2

# Why the Job controller ends a Job that takes too long.
DEADLINE_EXCEEDED = "DeadlineExceeded"

TWICE_AS_MUCH = "it is tried once more with twice the memory"
ENOUGH_FOR_ITS_SIZE = "it is tried once more with what a model file of {} bytes usually takes"
TOO_LARGE = (
    "that was twice what is usually enough: raise prepare.memory of the chart, then delete the Job to try again; "
    "with spec.serving.runtime tensorflow it takes less"
)
MORE_TIME = "mend that, or raise prepare.deadline of the chart, then delete the Job to try again"

Stage = Literal["unresolved", "start", "running", "retry", "failed", "done"]


@dataclass(frozen=True)
class Preparation:
    """State of the wanted revision's bundle.

    The stages: ``unresolved`` (the source has not answered), ``start`` (a Job must be made, in place of a finished one
    if there is one), ``running``, ``retry`` (failed, to be started again at `look_at`), ``failed`` (waits for a human)
    and ``done``.
    """

    stage: Stage
    model: ModelSummary | None = None
    failure: Failure | None = None
    attempt: int = 1
    memory: Memory = USUAL
    look_at: datetime | None = None


def preparation(model: KerasModel, observed: Observed) -> Preparation:
    """Judge how far the wanted revision has got."""
    if not observed.revision:
        return Preparation("unresolved")
    job = observed.job(model)
    known = _known(model, observed)
    if known is not None:
        lost = _loss(observed)
        if lost is None or (job is not None and _succeeded_since(job, lost.at)):
            return Preparation("done", model=known)
        if job is not None and _succeeded_since(job, None):
            return Preparation("start")  # in place of the run whose bundle is lost
    elif observed.stored is not None and may_be_stored(model, observed):
        return Preparation("done", model=observed.stored)
    if job is None or job.controller != model.metadata.uid:
        return Preparation("start")
    if job.deleting:
        return Preparation("running", attempt=job.attempt)
    ended = _ended(job)
    pods = sorted(observed.pods_of(job), key=lambda pod: pod.created, reverse=True)
    if ended is None:
        return _running(model, job, pods, observed)
    succeeded, reason, message, at = ended
    if succeeded:
        return _succeeded(job, pods, observed, at)
    if reason == DEADLINE_EXCEEDED:
        return Preparation("failed", failure=_overdue(model, job, pods), attempt=job.attempt)
    return _failed(job, pods, observed, message, at)


def may_be_stored(model: KerasModel, observed: Observed) -> bool:
    """Whether only the store can say if the wanted revision is prepared.

    So it is for one that was prepared before, under this resource or an earlier one of its name: no Job tells of it,
    and neither does status. When a serving pod has found the bundle broken, its manifest proves nothing.
    """
    job = observed.job(model)
    own = job is not None and job.controller == model.metadata.uid
    return bool(observed.revision) and not own and _known(model, observed) is None and _loss(observed) is None


def pod_creation_deadline(job: Child, observed: Observed) -> datetime | None:
    """From when on a prepare Job without a pod is taken to get none, which only its events can explain."""
    if job.deleting or _ended(job) is not None or observed.pods_of(job):
        return None
    started = job.status.get("startTime")
    return later(read(started), PODLESS_SECONDS) if started else None


def _known(model: KerasModel, observed: Observed) -> ModelSummary | None:
    """What status remembers of the wanted revision."""
    return model.status.model if model.status.prepared_revision == observed.revision else None


class _Loss(NamedTuple):
    """A serving pod has found that the wanted revision's bundle is not whole in the store."""

    at: datetime
    message: str


def _loss(observed: Observed) -> _Loss | None:
    """The latest loss; None when no pod tells of one."""
    losses = [
        _Loss(last_end_time(container), cause.message)
        for pod in observed.servers()
        if pod.revision == observed.revision and not pod.deleting
        for container in containers(pod)
        if (cause := ended_badly(pod, container))
        and cause.reason == Reason.BUNDLE_INVALID
        # A container remembers how its last run ended; a pod that was ready since has its bundle.
        and not has_been_ready_since(pod, last_end_time(container))
    ]
    return max(losses, default=None)


def _succeeded_since(job: Child, time: datetime | None) -> bool:
    ended = _ended(job)
    return ended is not None and ended[0] and (time is None or ended[3] >= time)


def _running(model: KerasModel, job: Child, pods: list[Pod], observed: Observed) -> Preparation:
    if _is_ending_overdue(job):
        failure: Failure | None = _overdue(model, job, pods)
    else:
        cause, loss = _trouble(job, pods, observed), _loss(observed)
        if cause is not None:
            failure = Failure("prepare", cause.reason, cause.message, job.revision)
        else:
            failure = Failure("serve", Reason.BUNDLE_INVALID, loss.message, job.revision) if loss else None
    return Preparation("running", failure=failure, attempt=job.attempt, memory=job.memory)


def _trouble(job: Child, pods: list[Pod], observed: Observed) -> Diagnosis | None:
    """What holds up a Job at present."""
    for pod in pods:
        # One that was evicted is followed by another. A container that fails ends the Job at once, which says more.
        if pod.status.get("phase") == "Failed":
            continue
        cause = cause_of(pod, observed.now, observed.evidence.get(pod.uid))
        if cause is not None and cause.exit_code is None:
            return cause
    if not pods and job.uid in observed.evidence:
        return cause_from_event(job.ref.name, observed.evidence[job.uid])
    return None


def _succeeded(job: Child, pods: list[Pod], observed: Observed, at: datetime) -> Preparation:
    for pod in pods:
        for container in containers(pod):
            report = step_report(container)
            if report is not None and report.model is not None and report.revision == observed.revision:
                return Preparation("done", model=report.model, attempt=job.attempt)
    grace = later(at, REPORT_GRACE_SECONDS)
    if observed.now < grace:
        return Preparation("running", attempt=job.attempt, memory=job.memory, look_at=grace)
    # The pod went before its report was read. Running again is cheap: the bundle is in the store.
    return Preparation("start", attempt=job.attempt + 1, memory=job.memory)


def _failed(job: Child, pods: list[Pod], observed: Observed, job_message: str, at: datetime) -> Preparation:
    causes = [cause for pod in pods if (cause := _end_of(pod))]
    if not causes and pods == [] and observed.now < (grace := later(at, REPORT_GRACE_SECONDS)):
        return Preparation("running", attempt=job.attempt, memory=job.memory, look_at=grace)
    cause, memory = _judge(job, pods, causes, job_message)
    failure = Failure("prepare", cause.reason, cause.message, job.revision, cause.exit_code, final=memory is None)
    if memory is None:
        return Preparation("failed", failure=failure, attempt=job.attempt, memory=job.memory)
    pause = min(FIRST_PAUSE_SECONDS * 2 ** (job.attempt - 1), LONGEST_PAUSE_SECONDS)
    due = later(at, pause)
    stage: Stage = "start" if observed.now >= due else "retry"
    return Preparation(stage, failure=failure, attempt=job.attempt + 1, memory=memory, look_at=due)


def _end_of(pod: Pod) -> Diagnosis | None:
    """Why a prepare pod failed."""
    return evicted(pod) or next(filter(None, (ended_badly(pod, each) for each in containers(pod))), None)


def _judge(job: Child, pods: list[Pod], causes: list[Diagnosis], job_message: str) -> tuple[Diagnosis, Memory | None]:
    """The cause of a Job's failure, and the memory of another attempt if one may help."""
    if not causes:
        why = "its pod left no report, as when it is deleted or its node is lost"
        message = f"Job {job.ref.name}: {job_message}; {why}: it is tried again"
        return Diagnosis(Reason.PREPARE_FAILED, message), job.memory
    cause = causes[0]
    if cause.reason == Reason.OUT_OF_MEMORY:
        memory, outlook = _more_memory(job, cause.container, _fetched_bytes(pods))
        return cause._replace(message=f"{cause.message}: {outlook}"), memory
    if cause.reason == Reason.CRASH_LOOP:
        cause = cause._replace(reason=Reason.PREPARE_FAILED)
    return cause, None if needs_human(cause.reason) else job.memory


def _more_memory(job: Child, container: str, fetched: int | None) -> tuple[Memory | None, str]:
    """The memory of the attempt after one whose container had too little, if there is to be one, and what to say."""
    mib, factor = job.memory
    # The Job may have been made before anybody knew the size of the file.
    usual = prepare_mib(fetched)
    if fetched is not None and container == "prepare" and usual > mib * factor:
        return Memory(usual, factor), ENOUGH_FOR_ITS_SIZE.format(fetched)
    if factor < MEMORY_FACTOR_AFTER_KILL:
        return Memory(mib, MEMORY_FACTOR_AFTER_KILL), TWICE_AS_MUCH
    return None, TOO_LARGE


def _fetched_bytes(pods: list[Pod]) -> int | None:
    """Size of the model file, as the step said that fetched it."""
    reports = (step_report(container) for pod in pods for container in containers(pod))
    return next((each.fetched_bytes for each in reports if each and each.fetched_bytes is not None), None)


def _overdue(model: KerasModel, job: Child, pods: list[Pod]) -> Failure:
    """What a Job that took too long was doing. Its pod goes with it, so that status must remember the answer."""
    told = find_condition(model.status, ConditionType.MODEL_PREPARED)
    current = told is not None and model.status.desired_revision == job.revision
    if told is not None and current and told.reason == Reason.DEADLINE_EXCEEDED:
        message = told.message
    else:
        if told is not None and current and told.reason != Reason.PREPARING:
            doing = told.message
        else:
            doing = next(filter(None, (_doing(model, pod) for pod in pods)), "its pod is gone without a word")
        message = f"Job {job.ref.name} took longer than its deadline: {doing}; {MORE_TIME}"
    return Failure("prepare", Reason.DEADLINE_EXCEEDED, message, job.revision, final=True)


def _doing(model: KerasModel, pod: Pod) -> str:
    """What the first container of a pod that has not ended well is for."""
    work = {
        "fetch": f"downloading {public_url(model.spec.source.uri)}",
        "prepare": "converting the model",
        "put": "uploading the bundle",
    }
    for container in containers(pod):
        if container.get("state", {}).get("terminated", {}).get("exitCode") != 0:
            name = container["name"]
            return f"container {name} of pod {pod.name} was still {work.get(name, 'at work')}"
    return ""


def _is_ending_overdue(job: Child) -> bool:
    """Whether Kubernetes is taking a Job's pods away because of its deadline."""
    return any(
        (each["type"], each["status"], each.get("reason")) == ("FailureTarget", "True", DEADLINE_EXCEEDED)
        for each in job.status.get("conditions", [])
    )


def _ended(job: Child) -> tuple[bool, str, str, datetime] | None:
    """Whether the Job succeeded, with reason, message and time; None while it runs."""
    for condition in job.status.get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return (
                condition["type"] == "Complete",
                condition.get("reason", ""),
                condition.get("message", ""),
                read(condition["lastTransitionTime"]),
            )
    return None
