"""What should be: the children wanted and unwanted, from the resource and what was observed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from keras_api.manifest import ModelSummary
from keras_api.resource import KerasModel
from keras_operator.decide.preparation import Preparation, preparation
from keras_operator.diagnosis.rollout import is_rolled_out
from keras_operator.kube.kinds import JOB, SERVICE_MONITOR, Object, Ref
from keras_operator.render.deployment import deployment
from keras_operator.render.prepare_job import prepare_job
from keras_operator.render.service import service
from keras_operator.render.service_account import service_account
from keras_operator.render.service_monitor import service_monitor
from keras_operator.settings import Settings
from keras_operator.state.observed import Observed


@dataclass(frozen=True)
class Plan:
    """What to do about one model."""

    preparation: Preparation
    apply: tuple[Object, ...] = ()
    """Children to hold as they are rendered here."""
    start: Object | None = None
    """A Job to make, in place of a finished one of the same name if there is one."""
    delete: tuple[Ref, ...] = ()
    prepared: tuple[str, ModelSummary] | None = field(default=None)
    """Revision that the Deployment is to run, and what it is; the one before while the wanted one is not prepared."""


def decide(model: KerasModel, observed: Observed, settings: Settings) -> Plan:
    """Decide what should exist.

    Raises:
        SpecError: when the spec cannot be rendered.
    """
    state = preparation(model, observed)
    prepared = _prepared(model, observed, state)
    if model.spec.suspend:
        return Plan(state, prepared=prepared)
    apply = [service_account(model), service(model)]
    if prepared is not None:
        apply.append(deployment(model, *prepared, settings))
    if _wants_service_monitor(model) and observed.has_service_monitors:
        apply.append(service_monitor(model))
    return Plan(
        preparation=state,
        apply=tuple(apply),
        start=_job(model, observed, state, settings) if state.stage == "start" else None,
        delete=tuple(_unwanted(model, observed)),
        prepared=prepared,
    )


def _prepared(model: KerasModel, observed: Observed, state: Preparation) -> tuple[str, ModelSummary] | None:
    deployment = observed.deployment(model)
    # What a Job prepares for a suspended model is taken up on resuming, if it is still wanted then.
    taken_up = not model.spec.suspend or (deployment is not None and deployment.revision == observed.revision)
    if state.model is not None and taken_up:
        return observed.revision, state.model
    status = model.status
    return (status.prepared_revision, status.model) if status.prepared_revision and status.model else None


def _job(model: KerasModel, observed: Observed, state: Preparation, settings: Settings) -> Object:
    found = observed.resolution.fingerprint
    assert found is not None, "a revision is known only once the source has answered"
    return prepare_job(
        model,
        observed.revision,
        found.value,
        found.size_bytes,
        settings,
        attempt=state.attempt,
        memory=state.memory,
    )


def _wants_service_monitor(model: KerasModel) -> bool:
    return model.spec.monitoring.service_monitor.enabled


def _unwanted(model: KerasModel, observed: Observed) -> list[Ref]:
    """Own children that have had their time; the wanted revision's Job stays for its logs."""
    unwanted = []
    served = bool(observed.revision) and is_rolled_out(model, observed, observed.revision)
    for ref, child in observed.children.items():
        if child.deleting or child.controller != model.metadata.uid:
            continue
        if ref.kind == JOB and observed.revision and child.revision != observed.revision:
            # One that still runs works for nothing; one that failed is kept until there is something better.
            if served or child.status.get("active"):
                unwanted.append(ref)
        elif ref.kind == SERVICE_MONITOR and not _wants_service_monitor(model):
            unwanted.append(ref)
    return unwanted
