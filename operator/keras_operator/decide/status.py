"""The status of a model: a pure function of the resource, the observed state, the plan and its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec.structs import replace

from keras_api.reasons import ConditionType, Reason
from keras_api.resource import (
    Condition,
    HistoryEntry,
    KerasModel,
    KerasModelStatus,
    LastFailure,
    SourceStatus,
    SpecError,
)
from keras_operator.components.base import Config, Context
from keras_operator.decide.plan import Plan
from keras_operator.diagnosis.rollout import (
    condition,
    desired_replicas,
    is_current,
    is_rolled_out,
    ready_revisions,
    serving_revision,
)
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import SERVICE, Key, Kind, Ref
from keras_operator.kube.times import written
from keras_operator.naming.labels import selector, server_selector
from keras_operator.naming.names import service_url
from keras_operator.state.conditions import ConditionUpdate, updated_conditions
from keras_operator.state.failure import Failure
from keras_operator.state.observed import Observed
from keras_store.redaction import public_url

HISTORY_LENGTH = 5

# Status, reason and message of a condition.
State = tuple[bool, Reason, str]


def summarize(
    model: KerasModel, observed: Observed, plan: Plan, errors: Mapping[Ref, ApplyError], config: Config
) -> KerasModelStatus:
    """The status of a model.

    Args:
        model: the resource, with its present status.
        observed: the state after applying the plan.
        plan: the plan, made before that.
        errors: what could not be applied, by child.
        config: the components and tasks.
    """
    context = Context(model, observed, config.settings, config.tasks, plan.chain, plan.prepared, errors)
    failure = next((found for check in READY_CHECKS if (found := check(context, config)) is not None), None)
    ready = _ready(context, failure)
    updates = [ready, *_progress(model, ready, failure), *_of_components(context, config)]
    status = replace(
        _observed_fields(model, observed),
        conditions=updated_conditions(model.status.conditions, updates, model.metadata.generation, observed.now),
        desired_revision=observed.revision,
        prepared_revision=plan.prepared.revision if plan.prepared else "",
        source=_source(model, observed),
        model=plan.prepared.model if plan.prepared else None,
        last_failure=_last_failure(model.status.last_failure, failure or observed.resolution.failure, observed),
    )
    return _with_history(status, ready, observed)


def spec_invalid(model: KerasModel, error: SpecError, observed: Observed, config: Config) -> KerasModelStatus:
    """The status of a model whose spec is invalid; the revision prepared before remains in it."""
    context = Context(model, observed, config.settings, config.tasks)
    failure = Failure("resolve", Reason.SPEC_INVALID, str(error), final=True)
    ready = _ready(context, failure)
    updates = [ready, *_progress(model, ready, failure), *_of_components(context, config)]
    kept = _others(model.status.conditions, updates)
    return replace(
        _observed_fields(model, observed),
        conditions=updated_conditions(model.status.conditions, updates, model.metadata.generation, observed.now) + kept,
        last_failure=_last_failure(model.status.last_failure, failure, observed),
    )


def _of_components(context: Context, config: Config) -> Iterator[ConditionUpdate]:
    return (each for component in config.components for each in component.conditions(context))


def _others(conditions: list[Condition], updates: list[ConditionUpdate]) -> list[Condition]:
    updated = {each.type for each in updates}
    return [each for each in conditions if each.type not in updated]


def _observed_fields(model: KerasModel, observed: Observed) -> KerasModelStatus:
    """The present status, with the fields that do not depend on the spec."""
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


# Failures that keep a model from being Ready, in order of priority: the first check that finds one decides.


def _apply_error(context: Context, config: Config) -> Failure | None:
    errors = [(ref.kind, error) for ref, error in sorted(context.errors.items(), key=lambda item: str(item[0]))]
    return _first_error(errors, context, config)


def _missing_permission(context: Context, config: Config) -> Failure | None:
    return _first_error(context.observed.forbidden.items(), context, config)


def _source_failure(context: Context, config: Config) -> Failure | None:
    unresolved = context.chain is not None and not context.chain.resolved
    return context.observed.resolution.failure if unresolved else None


def _component_failure(context: Context, config: Config) -> Failure | None:
    return next((each for component in config.components for each in component.failures(context)), None)


READY_CHECKS: tuple[Callable[[Context, Config], Failure | None], ...] = (
    _apply_error,
    _missing_permission,
    _source_failure,
    _component_failure,
)


def _first_error(errors: Iterable[tuple[Kind, ApplyError]], context: Context, config: Config) -> Failure | None:
    components = {each.child.kind: each for each in config.components}
    for kind, error in errors:
        component = components.get(kind)  # none for pods and for the models themselves
        if component is None or component.required:
            step = "serve" if component is None else component.step(context)
            return Failure(step, error.reason, error.message, context.observed.revision)
    return None


# The condition Ready without a failure, in order of priority: the first state that applies decides.


def _suspended(context: Context) -> State | None:
    model, observed = context.model, context.observed
    if not model.spec.suspend or (context.is_prepared and is_rolled_out(model, observed, observed.revision)):
        return None
    return False, Reason.SUSPENDED, "spec.suspend is true; the spec was not rolled out before"


def _resolving(context: Context) -> State | None:
    if context.chain is None or context.chain.resolved:
        return None
    return False, Reason.RESOLVING, f"polling {public_url(context.model.spec.source.uri)} for its version"


def _task_running(context: Context) -> State | None:
    chain = context.chain
    if chain is None or chain.task is None or chain.state is None:
        return None
    attempt = f" (attempt {chain.state.attempt})" if chain.state.attempt > 1 else ""
    job = chain.task.job_name(context.model, context.observed)
    return False, chain.task.running, f"Job {job} is running{attempt}"


def _rolling_out(context: Context) -> State:
    model, observed = context.model, context.observed
    revision, deployment = observed.revision, observed.deployment(model)
    if deployment is None:
        return False, Reason.ROLLING_OUT, f"revision {revision}: the Deployment does not exist yet"
    desired = desired_replicas(deployment)
    if is_rolled_out(model, observed, revision):
        if desired == 0:
            return True, Reason.SCALED_TO_ZERO, f"revision {revision} is ready to be served; replicas is 0"
        return True, Reason.SERVING, f"revision {revision} is served by all replicas ({desired})"
    available = sum(1 for pod in observed.servers() if pod.ready and pod.revision == revision)
    if available < desired:
        message = f"revision {revision}: {available} of {desired} replicas answer requests"
    else:
        updated = min(deployment.status.get("updatedReplicas", 0), desired)
        message = f"revision {revision}: pods are being replaced, {updated} of {desired} are up to date"
    finished = condition(deployment.status, "Progressing").get("reason") == "NewReplicaSetAvailable"
    short = deployment.revision == revision and is_current(deployment) and finished and available < desired
    return False, Reason.NOT_READY if short else Reason.ROLLING_OUT, message


def _ready(context: Context, failure: Failure | None) -> ConditionUpdate:
    if failure is not None:
        return ConditionUpdate(ConditionType.READY, False, failure.reason, failure.message)
    state = _suspended(context) or _resolving(context) or _task_running(context) or _rolling_out(context)
    return ConditionUpdate(ConditionType.READY, *state)


def _progress(model: KerasModel, ready: ConditionUpdate, failure: Failure | None) -> list[ConditionUpdate]:
    """Reconciling and Stalled, as kstatus reads them: never both True."""
    if model.spec.suspend:
        message = "spec.suspend is true: the operator changes nothing"
        return [
            ConditionUpdate(ConditionType.RECONCILING, False, Reason.SUSPENDED, message),
            ConditionUpdate(ConditionType.STALLED, False, Reason.SUSPENDED, message),
        ]
    if failure is not None and failure.final:
        return [
            ConditionUpdate(ConditionType.RECONCILING, False, failure.reason, "manual intervention required"),
            ConditionUpdate(ConditionType.STALLED, True, failure.reason, failure.message),
        ]
    reconciling = (Reason.SERVING, "nothing to do") if ready.status else (ready.reason, ready.message)
    return [
        ConditionUpdate(ConditionType.RECONCILING, not ready.status, *reconciling),
        ConditionUpdate(ConditionType.STALLED, False, Reason.PROGRESSING, "not stalled"),
    ]


def _url(model: KerasModel, observed: Observed) -> str:
    key = Key(model.metadata.namespace, model.metadata.name)
    return service_url(key) if observed.own(model, Ref(SERVICE, key.name)) is not None else ""


def _source(model: KerasModel, observed: Observed) -> SourceStatus | None:
    found = observed.resolution.fingerprint
    if found is None:
        return None
    return SourceStatus(fingerprint=found.value, uri=model.spec.source.uri, size_bytes=found.size_bytes)


def _last_failure(before: LastFailure | None, failure: Failure | None, observed: Observed) -> LastFailure | None:
    """The failure with the time when it was first observed; the previous failure when there is none now."""
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
    """Add a revision when all replicas serve it for the first time since another revision."""
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
