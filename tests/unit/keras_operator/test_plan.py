"""The plan: the children that should exist, and those to delete."""

from __future__ import annotations

from typing import Any

import msgspec
from operator_makers import (
    CONFIG,
    FOUND,
    SETTINGS,
    deployment_status,
    ended,
    job,
    live,
    model,
    observed_state,
    prepare_pod,
    ready_pod,
    service_monitor,
    success,
    summary,
)

from keras_operator.components.deployment import deployment
from keras_operator.components.service_monitor import SERVICE_MONITOR
from keras_operator.decide.plan import Plan, decide
from keras_operator.kube.kinds import DEPLOYMENT, JOB, Ref
from keras_operator.naming.names import job_name
from keras_operator.state.source_resolution import SourceResolution

REVISION = observed_state(model()).revision
PREPARED = {"preparedRevision": REVISION, "model": msgspec.to_builtins(summary())}
OLD_PREPARED = {**PREPARED, "preparedRevision": "old"}
OLD_JOB = Ref(JOB, job_name("digits", "prepare", "old"))


def plan(*children: Any, status: Any = None, pods: Any = (), monitors: bool = False, **spec: Any) -> Plan:
    resolution = spec.pop("resolution", FOUND)
    subject = model(status, **spec)
    observed = observed_state(subject, *children, pods=pods, resolution=resolution, service_monitors=monitors)
    return decide(subject, observed, CONFIG)


def started(found: Plan) -> list[str]:
    return [obj["metadata"]["name"] for obj in found.apply if obj["kind"] == "Job"]


def kinds(found: Plan) -> list[str]:
    return [obj["kind"] for obj in found.apply]


def test_a_new_model_first_gets_its_service() -> None:
    found = plan(resolution=SourceResolution())
    assert kinds(found) == ["ServiceAccount", "Service"]
    assert started(found) == []


def test_a_resolved_model_gets_a_prepare_job() -> None:
    found = plan()
    assert started(found) == [job_name("digits", "prepare", REVISION)]


def test_only_a_prepared_model_gets_a_deployment() -> None:
    assert "Deployment" not in kinds(plan((JOB, job(REVISION))))
    assert "Deployment" in kinds(plan(status=PREPARED))


def test_the_old_revision_stays_deployed_until_the_new_one_is_prepared() -> None:
    found = plan((JOB, job(REVISION)), status=OLD_PREPARED)
    assert found.prepared is not None
    assert found.prepared.revision == "old"
    template = next(obj for obj in found.apply if obj["kind"] == "Deployment")["spec"]["template"]
    assert template["metadata"]["labels"]["keras-operator.dev/revision"] == "old"


def test_a_service_monitor_needs_its_kind_and_must_not_be_disabled() -> None:
    assert "ServiceMonitor" not in kinds(plan())
    assert "ServiceMonitor" in kinds(plan(monitors=True))
    disabled = {"serviceMonitor": {"enabled": False}}
    found = plan((SERVICE_MONITOR, live(SERVICE_MONITOR, service_monitor(model()))), monitors=True, monitoring=disabled)
    assert "ServiceMonitor" not in kinds(found)
    assert found.delete == (Ref(SERVICE_MONITOR, "digits"),)


def test_a_suspended_model_is_neither_changed_nor_cleaned_up() -> None:
    found = plan((JOB, job("old")), status=OLD_PREPARED, suspend=True)
    assert (found.apply, found.delete) == ((), ())


def test_a_revision_prepared_while_suspended_is_rolled_out_on_resume() -> None:
    complete = (JOB, job(REVISION, ended="Complete"))
    pods = (prepare_pod(REVISION, ended(), success(REVISION)),)
    for suspend, revision in ((True, "old"), (False, REVISION)):
        found = plan(complete, pods=pods, status=OLD_PREPARED, suspend=suspend)
        assert found.prepared == (revision, summary())


def test_status_has_the_revision_that_a_suspended_models_deployment_runs() -> None:
    """The operator was killed after it had applied the Deployment, before it wrote the status."""
    complete = (JOB, job(REVISION, ended="Complete"))
    pods = (prepare_pod(REVISION, ended(), success(REVISION)),)
    applied = (DEPLOYMENT, live(DEPLOYMENT, deployment(model(), REVISION, summary(), SETTINGS)))
    found = plan(complete, applied, pods=pods, status=OLD_PREPARED, suspend=True)
    assert found.prepared == (REVISION, summary())


def test_a_running_job_of_another_revision_is_deleted() -> None:
    assert plan((JOB, job("old"))).delete == (OLD_JOB,)


def test_a_failed_job_of_another_revision_is_kept_until_the_desired_one_is_served() -> None:
    failed = (JOB, job("old", ended="Failed"))
    assert plan(failed, status=PREPARED).delete == ()
    rendered = deployment(model(), REVISION, summary(), SETTINGS)
    served = (DEPLOYMENT, live(DEPLOYMENT, rendered, deployment_status()))
    assert plan(failed, served, status=PREPARED, pods=(ready_pod(REVISION),)).delete == (OLD_JOB,)


def test_an_object_of_another_owner_is_not_deleted() -> None:
    theirs = job("old")
    theirs["metadata"]["ownerReferences"][0]["uid"] = "another"
    assert plan((JOB, theirs)).delete == ()
