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
from keras_operator.cache.objects import Child
from keras_operator.decide.plan import Plan
from keras_operator.diagnosis.pods import Diagnosis, cause_from_event, cause_of, is_history
from keras_operator.diagnosis.rollout import (
    condition,
    desired_replicas,
    is_current,
    is_rolled_out,
    ready_revisions,
    serving_revision,
)
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import JOB, SERVICE, SERVICE_MONITOR, Key, Ref
from keras_operator.kube.times import written
from keras_operator.naming.labels import selector, server_selector
from keras_operator.naming.names import prepare_job_name, service_url
from keras_operator.state.conditions import ConditionUpdate, conditions
from keras_operator.state.failure import Failure, Step
from keras_operator.state.observed import Observed
from keras_store.redaction import public_url

HISTORY_LENGTH = 5


def summarize(
    model: KerasModel, observed: Observed, plan: Plan, problems: Mapping[Ref, ApplyError]
) -> KerasModelStatus:
    """What to say about a model.

    Args:
        model: the resource, with its status so far.
        observed: what was observed after acting.
        plan: what was decided before acting.
        problems: what could not be done, by child.
    """
    before = model.status
    ready, failure = _ready(model, observed, plan, problems, observed.deployment(model))
    status = replace(
        _observed(model, observed),
        conditions=conditions(
            before.conditions,
            [
                ready,
                *_progress(model, ready, failure),
                _available(model, observed),
                _model_prepared(model, observed, plan),
                _monitoring(model, observed, problems),
            ],
            model.metadata.generation,
            observed.now,
        ),
        desired_revision=observed.revision,
        prepared_revision=plan.prepared[0] if plan.prepared else "",
        source=_source(model, observed),
        model=plan.prepared[1] if plan.prepared else None,
        last_failure=_last_failure(before.last_failure, failure or observed.resolution.failure, observed),
    )
    return _with_history(status, ready, observed)


def spec_invalid(model: KerasModel, error: SpecError, observed: Observed) -> KerasModelStatus:
    """What to say about a spec that the operator cannot act upon; what was prepared before stays as it was said."""
    failure = Failure("resolve", Reason.SPEC_INVALID, str(error), final=True)
    ready = ConditionUpdate(ConditionType.READY, False, Reason.SPEC_INVALID, failure.message)
    said = [ready, *_progress(model, ready, failure), _available(model, observed), _monitoring(model, observed, {})]
    types = {saying.type for saying in said}
    rest = [each for each in model.status.conditions if each.type not in types]
    return replace(
        _observed(model, observed),
        conditions=conditions(model.status.conditions, said, model.metadata.generation, observed.now) + rest,
        last_failure=_last_failure(model.status.last_failure, failure, observed),
    )


def _observed(model: KerasModel, observed: Observed) -> KerasModelStatus:
    """The status so far, with what is observed whatever the spec asks for."""
    deployment = observed.deployment(model)
    return replace(
        model.status,
        observed_generation=model.metadata.generation,
        url=_url(model, observed),
        serving_revision=serving_revision(observed, model.status.serving_revision),
        replicas=0 if deployment is None else deployment.status.get("replicas", 0),
        ready_replicas=len(ready_revisions(observed)),
        selector=selector(server_selector(model.metadata.name)),
    )


def _ready(
    model: KerasModel, observed: Observed, plan: Plan, problems: Mapping[Ref, ApplyError], deployment: Child | None
) -> tuple[ConditionUpdate, Failure | None]:
    """Ready, and the failure that keeps it from being True; the first of these that holds."""
    failure = _failure(model, observed, plan, problems, deployment)
    if failure is not None:
        return ConditionUpdate(ConditionType.READY, False, failure.reason, failure.message), failure
    return ConditionUpdate(ConditionType.READY, *_state(model, observed, plan, deployment)), None


def _failure(
    model: KerasModel, observed: Observed, plan: Plan, problems: Mapping[Ref, ApplyError], deployment: Child | None
) -> Failure | None:
    state = plan.preparation
    troubles = [(ref.kind, problem) for ref, problem in sorted(problems.items(), key=lambda item: str(item[0]))]
    for kind, problem in [*troubles, *observed.hidden.items()]:
        # Without its ServiceMonitor a model serves all the same: MonitoringReady says it.
        if kind != SERVICE_MONITOR:
            step: Step = "prepare" if kind == JOB else "serve"
            return Failure(step, problem.reason, problem.message, observed.revision)
    if state.stage == "unresolved":
        return observed.resolution.failure
    if state.failure is not None and state.stage != "start":
        return state.failure
    if state.stage != "done" or deployment is None or is_rolled_out(model, observed, observed.revision):
        return None
    # Until the Deployment's controller has observed a change, nothing that there is tells how the change does.
    return _serving_failure(observed, deployment) if is_current(deployment) else None


def _serving_failure(observed: Observed, deployment: Child) -> Failure | None:
    cause = _serving_cause(observed, deployment)
    if cause is None:
        return None
    # The Deployment's own patience is over, so is ours.
    overdue = condition(deployment.status, "Progressing").get("reason") == "ProgressDeadlineExceeded"
    return Failure("serve", cause.reason, cause.message, deployment.revision, cause.exit_code, final=overdue)


def _serving_cause(observed: Observed, deployment: Child) -> Diagnosis | None:
    if deployment.uid in observed.evidence:
        return cause_from_event(deployment.ref.name, observed.evidence[deployment.uid])
    # What has ended says less than what is there in its place.
    for pod in sorted(observed.servers(), key=lambda pod: pod.status.get("phase") == "Failed"):
        # A pod of an earlier template goes as soon as it can, whatever hinders it.
        if (pod.revision, pod.serving) != (deployment.revision, deployment.serving) or is_history(pod, observed.now):
            continue
        if cause := cause_of(pod, observed.now, observed.evidence.get(pod.uid)):
            return cause
    progressing = condition(deployment.status, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Diagnosis(Reason.NOT_READY, progressing.get("message", ""))
    return None


def _state(model: KerasModel, observed: Observed, plan: Plan, deployment: Child | None) -> tuple[bool, Reason, str]:
    """Status, reason and message of Ready where nothing has failed."""
    state = plan.preparation
    name = model.metadata.name
    if model.spec.suspend and not (state.stage == "done" and is_rolled_out(model, observed, observed.revision)):
        return False, Reason.SUSPENDED, "spec.suspend is true; what the spec asks for was not live before"
    if state.stage == "unresolved":
        return False, Reason.RESOLVING, f"asking {public_url(model.spec.source.uri)} for its version"
    if state.stage != "done":
        again = f" (attempt {state.attempt})" if state.attempt > 1 else ""
        return False, Reason.PREPARING, f"Job {prepare_job_name(name, observed.revision)} prepares the model{again}"
    if deployment is None:
        return False, Reason.ROLLING_OUT, f"revision {observed.revision}: the Deployment is not there yet"
    wanted = desired_replicas(deployment)
    if is_rolled_out(model, observed, observed.revision):
        if wanted == 0:
            return True, Reason.SCALED_TO_ZERO, f"revision {observed.revision} is ready to be served; replicas is 0"
        return True, Reason.SERVING, f"revision {observed.revision} is served by all replicas ({wanted})"
    good = sum(1 for pod in observed.servers() if pod.ready and pod.revision == observed.revision)
    if good < wanted:
        message = f"revision {observed.revision}: {good} of {wanted} replicas answer requests"
    else:
        updated = min(deployment.status.get("updatedReplicas", 0), wanted)
        message = f"revision {observed.revision}: pods are being replaced, {updated} of {wanted} are as the spec asks"
    finished = condition(deployment.status, "Progressing").get("reason") == "NewReplicaSetAvailable"
    short = deployment.revision == observed.revision and is_current(deployment) and finished and good < wanted
    return False, Reason.NOT_READY if short else Reason.ROLLING_OUT, message


def _progress(model: KerasModel, ready: ConditionUpdate, failure: Failure | None) -> list[ConditionUpdate]:
    """Reconciling and Stalled, as kstatus reads them: never both True."""
    stalled = failure is not None and failure.final
    if model.spec.suspend:
        message = "spec.suspend is true: the operator changes nothing"
        return [
            ConditionUpdate(ConditionType.RECONCILING, False, Reason.SUSPENDED, message),
            ConditionUpdate(ConditionType.STALLED, False, Reason.SUSPENDED, message),
        ]
    if stalled and failure is not None:
        return [
            ConditionUpdate(ConditionType.RECONCILING, False, failure.reason, "waits for a human"),
            ConditionUpdate(ConditionType.STALLED, True, failure.reason, failure.message),
        ]
    working = (ready.reason, ready.message) if not ready.status else (Reason.SERVING, "nothing is to be done")
    return [
        ConditionUpdate(ConditionType.RECONCILING, not ready.status, *working),
        ConditionUpdate(ConditionType.STALLED, False, Reason.PROGRESSING, "nothing is stalled"),
    ]


def _available(model: KerasModel, observed: Observed) -> ConditionUpdate:
    deployment, serving = observed.deployment(model), serving_revision(observed, model.status.serving_revision)
    if serving:
        return ConditionUpdate(ConditionType.AVAILABLE, True, Reason.SERVING, f"revision {serving} is served")
    if deployment is not None and desired_replicas(deployment) == 0:
        return ConditionUpdate(ConditionType.AVAILABLE, False, Reason.SCALED_TO_ZERO, "replicas is 0")
    return ConditionUpdate(ConditionType.AVAILABLE, False, Reason.NO_REPLICA_READY, "no pod answers requests")


def _model_prepared(model: KerasModel, observed: Observed, plan: Plan) -> ConditionUpdate:
    state = plan.preparation
    if state.stage == "done":
        return ConditionUpdate(
            ConditionType.MODEL_PREPARED, True, Reason.PREPARED, f"revision {observed.revision} is in the store"
        )
    if state.stage == "unresolved":
        failure = observed.resolution.failure
        reason, message = (failure.reason, failure.message) if failure else (Reason.RESOLVING, "the source is asked")
        return ConditionUpdate(ConditionType.MODEL_PREPARED, False, reason, message)
    if state.failure is not None and state.stage != "start":
        return ConditionUpdate(ConditionType.MODEL_PREPARED, False, state.failure.reason, state.failure.message)
    job = prepare_job_name(model.metadata.name, observed.revision)
    return ConditionUpdate(ConditionType.MODEL_PREPARED, False, Reason.PREPARING, f"Job {job} is at work")


def _monitoring(model: KerasModel, observed: Observed, problems: Mapping[Ref, ApplyError]) -> ConditionUpdate:
    ref = Ref(SERVICE_MONITOR, model.metadata.name)
    if not model.spec.monitoring.service_monitor.enabled:
        return ConditionUpdate(
            ConditionType.MONITORING_READY, False, Reason.SERVICE_MONITOR_DISABLED, "disabled by spec.monitoring"
        )
    if not observed.has_service_monitors:
        message = "the cluster has no ServiceMonitor kind (monitoring.coreos.com/v1)"
        return ConditionUpdate(ConditionType.MONITORING_READY, False, Reason.SERVICE_MONITOR_CRD_MISSING, message)
    if problem := problems.get(ref) or observed.hidden.get(SERVICE_MONITOR):
        return ConditionUpdate(ConditionType.MONITORING_READY, False, *problem)
    if ref in observed.children:
        return ConditionUpdate(
            ConditionType.MONITORING_READY, True, Reason.SERVICE_MONITOR_APPLIED, f"{ref} is in place"
        )
    return ConditionUpdate(ConditionType.MONITORING_READY, False, Reason.PROGRESSING, f"{ref} is not there yet")


def _url(model: KerasModel, observed: Observed) -> str:
    service = observed.children.get(Ref(SERVICE, model.metadata.name))
    own = service is not None and service.controller == model.metadata.uid
    return service_url(Key(model.metadata.namespace, model.metadata.name)) if own else ""


def _source(model: KerasModel, observed: Observed) -> SourceStatus | None:
    found = observed.resolution.fingerprint
    if found is None:
        return None
    return SourceStatus(fingerprint=found.value, uri=model.spec.source.uri, size_bytes=found.size_bytes)


def _last_failure(before: LastFailure | None, failure: Failure | None, observed: Observed) -> LastFailure | None:
    """The failure with the time when it was first observed; the one before when there is none now."""
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
        time=written(observed.now),
        revision=failure.revision,
        exit_code=failure.exit_code,
    )


def _with_history(status: KerasModelStatus, ready: ConditionUpdate, observed: Observed) -> KerasModelStatus:
    """Note a revision when all replicas serve it for the first time since another one."""
    newest = status.history[0].revision if status.history else ""
    if not ready.status or status.model is None or newest == observed.revision:
        return status
    entry = HistoryEntry(
        revision=observed.revision,
        digest=status.model.digest,
        served_from=written(observed.now),
        metrics=status.model.metrics,
    )
    return replace(status, history=[entry, *status.history][:HISTORY_LENGTH])
