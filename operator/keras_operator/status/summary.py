"""The status of a model: a pure function of the resource, what was observed, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from keras_api.reasons import ConditionType, Reason
from keras_api.resource import (
    HistoryEntry,
    KerasModel,
    KerasModelStatus,
    LastFailure,
    SourceStatus,
    SpecError,
)
from keras_operator.decide import Plan
from keras_operator.kinds import JOB, SERVICE, SERVICE_MONITOR, Key, Ref
from keras_operator.live import Child
from keras_operator.observe import Observed
from keras_operator.problem import Problem
from keras_operator.render.labels import selector, server_selector
from keras_operator.render.names import prepare_job_name, service_url
from keras_operator.status.conditions import Saying, conditions
from keras_operator.status.failure import Failure, Step
from keras_operator.status.pods import Cause, cause_from_event, cause_of, is_history
from keras_operator.status.rollout import (
    condition,
    is_current,
    is_rolled_out,
    ready_revisions,
    serving_revision,
    wanted_replicas,
)
from keras_operator.times import written
from keras_store.http import public_url

HISTORY_LENGTH = 5


def summarize(model: KerasModel, seen: Observed, plan: Plan, problems: Mapping[Ref, Problem]) -> KerasModelStatus:
    """What to say about a model.

    Args:
        model: the resource, with its status so far.
        seen: what was observed after acting.
        plan: what was decided before acting.
        problems: what could not be done, by child.
    """
    before = model.status
    ready, failure = _ready(model, seen, plan, problems, seen.deployment(model))
    status = replace(
        _observed(model, seen),
        conditions=conditions(
            before.conditions,
            [
                ready,
                *_progress(model, ready, failure),
                _available(model, seen),
                _model_prepared(model, seen, plan),
                _monitoring(model, seen, problems),
            ],
            model.metadata.generation,
            seen.now,
        ),
        desired_revision=seen.revision,
        prepared_revision=plan.prepared[0] if plan.prepared else "",
        source=_source(model, seen),
        model=plan.prepared[1] if plan.prepared else None,
        last_failure=_last_failure(before.last_failure, failure or seen.resolution.failure, seen),
    )
    return _with_history(status, ready, seen)


def spec_invalid(model: KerasModel, error: SpecError, seen: Observed) -> KerasModelStatus:
    """What to say about a spec that the operator cannot act upon; what was prepared before stays as it was said."""
    failure = Failure("resolve", Reason.SPEC_INVALID, str(error), final=True)
    ready = Saying(ConditionType.READY, False, Reason.SPEC_INVALID, failure.message)
    said = [ready, *_progress(model, ready, failure), _available(model, seen), _monitoring(model, seen, {})]
    types = {saying.type for saying in said}
    rest = [each for each in model.status.conditions if each.type not in types]
    return replace(
        _observed(model, seen),
        conditions=conditions(model.status.conditions, said, model.metadata.generation, seen.now) + rest,
        last_failure=_last_failure(model.status.last_failure, failure, seen),
    )


def _observed(model: KerasModel, seen: Observed) -> KerasModelStatus:
    """The status so far, with what is seen whatever the spec asks for."""
    deployment = seen.deployment(model)
    return replace(
        model.status,
        observed_generation=model.metadata.generation,
        url=_url(model, seen),
        serving_revision=serving_revision(seen, model.status.serving_revision),
        replicas=0 if deployment is None else deployment.status.get("replicas", 0),
        ready_replicas=len(ready_revisions(seen)),
        selector=selector(server_selector(model.metadata.name)),
    )


def _ready(
    model: KerasModel, seen: Observed, plan: Plan, problems: Mapping[Ref, Problem], deployment: Child | None
) -> tuple[Saying, Failure | None]:
    """Ready, and the failure that keeps it from being True; the first of these that holds."""
    failure = _failure(model, seen, plan, problems, deployment)
    if failure is not None:
        return Saying(ConditionType.READY, False, failure.reason, failure.message), failure
    return Saying(ConditionType.READY, *_state(model, seen, plan, deployment)), None


def _failure(
    model: KerasModel, seen: Observed, plan: Plan, problems: Mapping[Ref, Problem], deployment: Child | None
) -> Failure | None:
    state = plan.preparation
    troubles = [(ref.kind, problem) for ref, problem in sorted(problems.items(), key=lambda item: str(item[0]))]
    for kind, problem in [*troubles, *seen.hidden.items()]:
        # Without its ServiceMonitor a model serves all the same: MonitoringReady says it.
        if kind != SERVICE_MONITOR:
            step: Step = "prepare" if kind == JOB else "serve"
            return Failure(step, problem.reason, problem.message, seen.revision)
    if state.stage == "unresolved":
        return seen.resolution.failure
    if state.failure is not None and state.stage != "start":
        return state.failure
    if state.stage != "done" or deployment is None or is_rolled_out(model, seen, seen.revision):
        return None
    # Until the Deployment's controller has seen a change, nothing that there is tells how the change does.
    return _serving_failure(seen, deployment) if is_current(deployment) else None


def _serving_failure(seen: Observed, deployment: Child) -> Failure | None:
    cause = _serving_cause(seen, deployment)
    if cause is None:
        return None
    # The Deployment's own patience is over, so is ours.
    overdue = condition(deployment.status, "Progressing").get("reason") == "ProgressDeadlineExceeded"
    return Failure("serve", cause.reason, cause.message, deployment.revision, cause.exit_code, final=overdue)


def _serving_cause(seen: Observed, deployment: Child) -> Cause | None:
    if deployment.uid in seen.clues:
        return cause_from_event(deployment.ref.name, seen.clues[deployment.uid])
    # What has ended says less than what is there in its place.
    for pod in sorted(seen.servers(), key=lambda pod: pod.status.get("phase") == "Failed"):
        # A pod of an earlier template goes as soon as it can, whatever hinders it.
        if (pod.revision, pod.serving) != (deployment.revision, deployment.serving) or is_history(pod, seen.now):
            continue
        if cause := cause_of(pod, seen.now, seen.clues.get(pod.uid)):
            return cause
    progressing = condition(deployment.status, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Cause(Reason.NOT_READY, progressing.get("message", ""))
    return None


def _state(model: KerasModel, seen: Observed, plan: Plan, deployment: Child | None) -> tuple[bool, Reason, str]:
    """Status, reason and message of Ready where nothing has failed."""
    state = plan.preparation
    name = model.metadata.name
    if model.spec.suspend and not (state.stage == "done" and is_rolled_out(model, seen, seen.revision)):
        return False, Reason.SUSPENDED, "spec.suspend is true; what the spec asks for was not live before"
    if state.stage == "unresolved":
        return False, Reason.RESOLVING, f"asking {public_url(model.spec.source.uri)} for its version"
    if state.stage != "done":
        again = f" (attempt {state.attempt})" if state.attempt > 1 else ""
        return False, Reason.PREPARING, f"Job {prepare_job_name(name, seen.revision)} prepares the model{again}"
    if deployment is None:
        return False, Reason.ROLLING_OUT, f"revision {seen.revision}: the Deployment is not there yet"
    wanted = wanted_replicas(deployment)
    if is_rolled_out(model, seen, seen.revision):
        if wanted == 0:
            return True, Reason.SCALED_TO_ZERO, f"revision {seen.revision} is ready to be served; replicas is 0"
        return True, Reason.SERVING, f"revision {seen.revision} is served by all replicas ({wanted})"
    good = sum(1 for pod in seen.servers() if pod.ready and pod.revision == seen.revision)
    if good < wanted:
        message = f"revision {seen.revision}: {good} of {wanted} replicas answer requests"
    else:
        updated = min(deployment.status.get("updatedReplicas", 0), wanted)
        message = f"revision {seen.revision}: pods are being replaced, {updated} of {wanted} are as the spec asks"
    finished = condition(deployment.status, "Progressing").get("reason") == "NewReplicaSetAvailable"
    short = deployment.revision == seen.revision and is_current(deployment) and finished and good < wanted
    return False, Reason.NOT_READY if short else Reason.ROLLING_OUT, message


def _progress(model: KerasModel, ready: Saying, failure: Failure | None) -> list[Saying]:
    """Reconciling and Stalled, as kstatus reads them: never both True."""
    stalled = failure is not None and failure.final
    if model.spec.suspend:
        message = "spec.suspend is true: the operator changes nothing"
        return [
            Saying(ConditionType.RECONCILING, False, Reason.SUSPENDED, message),
            Saying(ConditionType.STALLED, False, Reason.SUSPENDED, message),
        ]
    if stalled and failure is not None:
        return [
            Saying(ConditionType.RECONCILING, False, failure.reason, "waits for a human"),
            Saying(ConditionType.STALLED, True, failure.reason, failure.message),
        ]
    working = (ready.reason, ready.message) if not ready.status else (Reason.SERVING, "nothing is to be done")
    return [
        Saying(ConditionType.RECONCILING, not ready.status, *working),
        Saying(ConditionType.STALLED, False, Reason.PROGRESSING, "nothing is stalled"),
    ]


def _available(model: KerasModel, seen: Observed) -> Saying:
    deployment, serving = seen.deployment(model), serving_revision(seen, model.status.serving_revision)
    if serving:
        return Saying(ConditionType.AVAILABLE, True, Reason.SERVING, f"revision {serving} is served")
    if deployment is not None and wanted_replicas(deployment) == 0:
        return Saying(ConditionType.AVAILABLE, False, Reason.SCALED_TO_ZERO, "replicas is 0")
    return Saying(ConditionType.AVAILABLE, False, Reason.NO_REPLICA_READY, "no pod answers requests")


def _model_prepared(model: KerasModel, seen: Observed, plan: Plan) -> Saying:
    state = plan.preparation
    if state.stage == "done":
        return Saying(ConditionType.MODEL_PREPARED, True, Reason.PREPARED, f"revision {seen.revision} is in the store")
    if state.stage == "unresolved":
        failure = seen.resolution.failure
        reason, message = (failure.reason, failure.message) if failure else (Reason.RESOLVING, "the source is asked")
        return Saying(ConditionType.MODEL_PREPARED, False, reason, message)
    if state.failure is not None and state.stage != "start":
        return Saying(ConditionType.MODEL_PREPARED, False, state.failure.reason, state.failure.message)
    job = prepare_job_name(model.metadata.name, seen.revision)
    return Saying(ConditionType.MODEL_PREPARED, False, Reason.PREPARING, f"Job {job} is at work")


def _monitoring(model: KerasModel, seen: Observed, problems: Mapping[Ref, Problem]) -> Saying:
    ref = Ref(SERVICE_MONITOR, model.metadata.name)
    if not model.spec.monitoring.service_monitor.enabled:
        return Saying(
            ConditionType.MONITORING_READY, False, Reason.SERVICE_MONITOR_DISABLED, "disabled by spec.monitoring"
        )
    if not seen.has_service_monitors:
        message = "the cluster has no ServiceMonitor kind (monitoring.coreos.com/v1)"
        return Saying(ConditionType.MONITORING_READY, False, Reason.SERVICE_MONITOR_CRD_MISSING, message)
    if problem := problems.get(ref) or seen.hidden.get(SERVICE_MONITOR):
        return Saying(ConditionType.MONITORING_READY, False, *problem)
    if ref in seen.children:
        return Saying(ConditionType.MONITORING_READY, True, Reason.SERVICE_MONITOR_APPLIED, f"{ref} is in place")
    return Saying(ConditionType.MONITORING_READY, False, Reason.PROGRESSING, f"{ref} is not there yet")


def _url(model: KerasModel, seen: Observed) -> str:
    service = seen.children.get(Ref(SERVICE, model.metadata.name))
    own = service is not None and service.controller == model.metadata.uid
    return service_url(Key(model.metadata.namespace, model.metadata.name)) if own else ""


def _source(model: KerasModel, seen: Observed) -> SourceStatus | None:
    found = seen.resolution.fingerprint
    if found is None:
        return None
    return SourceStatus(fingerprint=found.value, uri=model.spec.source.uri, size_bytes=found.size_bytes)


def _last_failure(before: LastFailure | None, failure: Failure | None, seen: Observed) -> LastFailure | None:
    """The failure with the time when it was first seen; the one before when there is none now."""
    if failure is None:
        return before
    same = before is not None and (before.step, before.reason, before.message, before.revision) == (
        failure.step,
        failure.reason,
        failure.message,
        failure.revision,
    )
    if same:
        return before
    return LastFailure(
        step=failure.step,
        reason=failure.reason,
        message=failure.message,
        time=written(seen.now),
        revision=failure.revision,
        exit_code=failure.exit_code,
    )


def _with_history(status: KerasModelStatus, ready: Saying, seen: Observed) -> KerasModelStatus:
    """Note a revision when all replicas serve it for the first time since another one."""
    newest = status.history[0].revision if status.history else ""
    if not ready.status or status.model is None or newest == seen.revision:
        return status
    entry = HistoryEntry(
        revision=seen.revision,
        digest=status.model.digest,
        served_from=written(seen.now),
        metrics=status.model.metrics,
    )
    return replace(status, history=[entry, *status.history][:HISTORY_LENGTH])
