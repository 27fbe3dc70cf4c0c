"""The status in every situation: conditions, revisions, failures, history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from operator_makers import (
    CONFIG,
    FOUND,
    SETTINGS,
    ago,
    deployment_status,
    failure,
    job,
    live,
    model,
    observed_state,
    pod,
    prepare_pod,
    ready_pod,
    service,
    service_monitor,
    summary,
)

from keras_api.reasons import ConditionType, Reason
from keras_api.resource import KerasModelStatus, SpecError
from keras_operator.components.deployment import deployment
from keras_operator.components.service_monitor import SERVICE_MONITOR
from keras_operator.decide.plan import decide
from keras_operator.decide.status import spec_invalid, summarize
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.evidence import Evidence
from keras_operator.kube.kinds import DEPLOYMENT, JOB, POD, SERVICE, Object, Ref
from keras_operator.state.failure import Failure
from keras_operator.state.source_resolution import SourceResolution

REVISION = observed_state(model()).revision
PREPARED: Object = {"preparedRevision": REVISION, "model": msgspec.to_builtins(summary())}


def status_of(
    *children: Any,
    pods: tuple[Object, ...] = (),
    status: Object | None = None,
    errors: dict[Ref, ApplyError] | None = None,
    resolution: SourceResolution = FOUND,
    service_monitors: bool = False,
    evidence: Mapping[str, Evidence] | None = None,
    **spec: Any,
) -> KerasModelStatus:
    subject = model(status, **spec)
    observed = observed_state(
        subject, *children, pods=pods, resolution=resolution, service_monitors=service_monitors, evidence=evidence
    )
    return summarize(subject, observed, decide(subject, observed, CONFIG), errors or {}, CONFIG)


def find_condition(status: KerasModelStatus, kind: ConditionType) -> tuple[str, str]:
    return next((each.status, each.reason) for each in status.conditions if each.type == kind)


def deployed(revision: str = REVISION, status: Object | None = None, replicas: int | None = None, **more: Any) -> Any:
    rendered = deployment(model(serving={"replicas": replicas}), revision, summary(), SETTINGS)
    rendered["spec"].setdefault("replicas", 1)
    return DEPLOYMENT, live(DEPLOYMENT, rendered, deployment_status() if status is None else status, **more)


LOST = Failure("resolve", Reason.SOURCE_NOT_FOUND, "no such key")
TOO_LARGE = Failure("resolve", Reason.SOURCE_TOO_LARGE, "9 GiB", final=True)
CRASHING = pod(
    "server",
    REVISION,
    containerStatuses=[
        {"name": "server", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    ],
)
ROLLING = deployment_status(1, 0, conditions=[{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}])
OVERDUE_CONDITION = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}
OVERDUE = deployment_status(1, 0, conditions=[OVERDUE_CONDITION])
REJECTED_CONDITION = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
REJECTED = deployed(status=deployment_status(0, 0, conditions=[REJECTED_CONDITION]))
REJECTION = {REJECTED[1]["metadata"]["uid"]: Evidence("FailedCreate", "exceeded quota")}
FAILED_JOB = (JOB, job(REVISION, ended="Failed"))
UNSAFE = (prepare_pod(REVISION, failure(REVISION, Reason.MODEL_UNSAFE)),)

READY: dict[str, tuple[KerasModelStatus, tuple[str, str], bool, bool]] = {
    # situation: status, Ready, Reconciling, Stalled
    "new": (status_of(resolution=SourceResolution()), ("False", "Resolving"), True, False),
    "source lost": (status_of(resolution=SourceResolution(failure=LOST)), ("False", "SourceNotFound"), True, False),
    "source too large": (
        status_of(resolution=SourceResolution(failure=TOO_LARGE)),
        ("False", "SourceTooLarge"),
        False,
        True,
    ),
    "preparing": (status_of((JOB, job(REVISION))), ("False", "Preparing"), True, False),
    "unsafe": (status_of(FAILED_JOB, pods=UNSAFE), ("False", "ModelUnsafe"), False, True),
    "prepared": (status_of(status=PREPARED), ("False", "RollingOut"), True, False),
    "rolling out": (status_of(deployed(status=ROLLING), status=PREPARED), ("False", "RollingOut"), True, False),
    "serving": (status_of(deployed(), pods=(ready_pod(REVISION),), status=PREPARED), ("True", "Serving"), False, False),
    "image missing": (
        status_of(deployed(status=ROLLING), pods=(CRASHING,), status=PREPARED),
        ("False", "ImagePullFailed"),
        True,
        False,
    ),
    "image missing at the progress deadline": (
        status_of(deployed(status=OVERDUE), pods=(CRASHING,), status=PREPARED),
        ("False", "ImagePullFailed"),
        False,
        True,
    ),
    "progress deadline without a cause": (
        status_of(deployed(status=OVERDUE), status=PREPARED),
        ("False", "NotReady"),
        False,
        True,
    ),
    "pods rejected": (status_of(REJECTED, status=PREPARED, evidence=REJECTION), ("False", "PodRefused"), True, False),
    "pods of the previous template rejected": (
        status_of(REJECTED, status=PREPARED),
        ("False", "RollingOut"),
        True,
        False,
    ),
    "a replica lost": (
        status_of(deployed(status=deployment_status(1, 0)), status=PREPARED),
        ("False", "NotReady"),
        True,
        False,
    ),
    "scaled to zero": (
        status_of(deployed(status=deployment_status(0, 0), replicas=0), status=PREPARED),
        ("True", "ScaledToZero"),
        False,
        False,
    ),
    "suspended while serving": (
        status_of(deployed(), pods=(ready_pod(REVISION),), status=PREPARED, suspend=True),
        ("True", "Serving"),
        False,
        False,
    ),
    "created suspended": (
        status_of(resolution=SourceResolution(), suspend=True),
        ("False", "Suspended"),
        False,
        False,
    ),
    "name conflict": (
        status_of(errors={Ref(SERVICE, "digits"): ApplyError(Reason.NAME_CONFLICT, "theirs")}),
        ("False", "NameConflict"),
        True,
        False,
    ),
}


@pytest.mark.parametrize(("status", "ready", "reconciling", "stalled"), READY.values(), ids=READY)
def test_ready_reconciling_and_stalled(
    status: KerasModelStatus, ready: tuple[str, str], reconciling: bool, stalled: bool
) -> None:
    assert find_condition(status, ConditionType.READY) == ready
    assert find_condition(status, ConditionType.RECONCILING)[0] == str(reconciling)
    assert find_condition(status, ConditionType.STALLED)[0] == str(stalled)


def test_an_address_is_reported_without_its_query() -> None:
    status = status_of(resolution=SourceResolution(), source={"uri": "https://host/m.keras?signature=p4ssw0rd"})
    ready = next(each for each in status.conditions if each.type == ConditionType.READY)
    assert (ready.reason, ready.message) == ("Resolving", "polling https://host/m.keras for its version")
    assert [each for each in status.conditions if "p4ssw0rd" in each.message] == []


OLD = ready_pod("old", "pod-old")
NEW = ready_pod(REVISION, "pod-new")
THEIRS = [{"kind": "X", "name": "x", "uid": "x", "controller": True}]
NOT_READY: dict[str, KerasModelStatus] = {
    "an old pod is still ready": status_of(deployed(), pods=(OLD, NEW), status=PREPARED),
    "only an old pod is ready": status_of(deployed(), pods=(OLD,), status=PREPARED),
    "the Deployment's template is the old one": status_of(deployed("old"), pods=(NEW,), status=PREPARED),
    "the Deployment's status is out of date": status_of(
        deployed(status=deployment_status(generation=0)), pods=(NEW,), status=PREPARED
    ),
    "too few are ready": status_of(
        deployed(status=deployment_status(2, 1), replicas=2), pods=(NEW,), status=PREPARED, serving={"replicas": 2}
    ),
    "a pod of the previous template exists": status_of(
        deployed(status=deployment_status(2, 1, updatedReplicas=1)), pods=(NEW,), status=PREPARED
    ),
    "no pod of the present template exists": status_of(
        deployed(status=deployment_status(1, 1, updatedReplicas=0)), pods=(NEW,), status=PREPARED
    ),
    "the pods are not known yet": status_of(deployed(), status=PREPARED),
    "the desired revision is not prepared": status_of(
        deployed("old"), pods=(OLD,), status={**PREPARED, "preparedRevision": "old"}
    ),
    "replicas were changed while suspended": status_of(
        deployed(), pods=(NEW,), status=PREPARED, suspend=True, serving={"replicas": 2}
    ),
    "resources were changed while suspended": status_of(
        deployed(), pods=(NEW,), status=PREPARED, suspend=True, serving={"resources": {"limits": {"cpu": "2"}}}
    ),
    "the pod template was changed while suspended": status_of(
        deployed(),
        pods=(NEW,),
        status=PREPARED,
        suspend=True,
        serving={"podTemplate": {"metadata": {"labels": {"team": "a"}}}},
    ),
    "another owner has the Deployment": status_of(
        deployed(ownerReferences=[{"kind": "X", "name": "x", "uid": "x", "controller": True}]),
        pods=(NEW,),
        status=PREPARED,
    ),
}


@pytest.mark.parametrize("status", NOT_READY.values(), ids=NOT_READY)
def test_ready_is_never_true_while(status: KerasModelStatus) -> None:
    assert find_condition(status, ConditionType.READY)[0] == "False"


@pytest.mark.parametrize(
    ("before", "pods", "serving"),
    [
        ("", (), ""),
        ("", (NEW,), REVISION),
        ("old", (OLD, NEW), "old"),
        ("old", (NEW,), REVISION),
        ("old", (), ""),
    ],
)
def test_the_serving_revision_is_that_of_the_ready_pods(before: str, pods: tuple[Object, ...], serving: str) -> None:
    status = status_of(deployed(), pods=pods, status={**PREPARED, "servingRevision": before})
    assert status.serving_revision == serving
    assert find_condition(status, ConditionType.AVAILABLE)[0] == str(bool(serving))


STUCK = pod(
    "server",
    REVISION,
    containerStatuses=CRASHING["status"]["containerStatuses"],
    serving={"resources": {"limits": {"cpu": "1k"}}},
)


@pytest.mark.parametrize(
    ("status", "pods"),
    [
        (ROLLING, (STUCK,)),
        (deployment_status(1, 0, generation=0), (CRASHING,)),
        (deployment_status(0, 0, generation=0, conditions=[REJECTED_CONDITION]), ()),
    ],
    ids=[
        "a pod of the previous template",
        "a pod before the change is observed",
        "a rejection before the change is observed",
    ],
)
def test_an_obstacle_of_the_previous_template_is_not_reported_for_the_present_one(status: Object, pods: Any) -> None:
    now = status_of(deployed(status=status), pods=pods, status=PREPARED)
    assert find_condition(now, ConditionType.READY) == ("False", "RollingOut")
    assert now.last_failure is None


def test_the_old_revision_stays_available_while_the_new_one_fails() -> None:
    before = {"preparedRevision": "old", "servingRevision": "old", "model": msgspec.to_builtins(summary())}
    status = status_of(FAILED_JOB, deployed("old"), pods=(*UNSAFE, OLD), status=before)
    assert find_condition(status, ConditionType.AVAILABLE) == ("True", "Serving")
    assert find_condition(status, ConditionType.MODEL_PREPARED) == ("False", "ModelUnsafe")
    assert (status.desired_revision, status.prepared_revision, status.serving_revision) == (REVISION, "old", "old")


def test_a_failed_poll_is_reported_and_changes_nothing_else() -> None:
    found = SourceResolution(FOUND.fingerprint, LOST)
    status = status_of(deployed(), pods=(NEW,), status=PREPARED, resolution=found)
    assert find_condition(status, ConditionType.READY) == ("True", "Serving")
    assert status.last_failure is not None
    assert (status.last_failure.step, status.last_failure.reason) == ("resolve", Reason.SOURCE_NOT_FOUND)


MONITOR = (SERVICE_MONITOR, live(SERVICE_MONITOR, service_monitor(model())))
DISABLED: Any = {"monitoring": {"serviceMonitor": {"enabled": False}}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (status_of(), ("False", "ServiceMonitorCRDMissing")),
        (status_of(service_monitors=True), ("False", "ServiceMonitorPending")),
        (status_of(MONITOR, service_monitors=True), ("True", "ServiceMonitorApplied")),
        (status_of(MONITOR, service_monitors=True, **DISABLED), ("False", "ServiceMonitorDisabled")),
        (
            status_of(
                service_monitors=True,
                errors={Ref(SERVICE_MONITOR, "digits"): ApplyError(Reason.NAME_CONFLICT, "theirs")},
            ),
            ("False", "NameConflict"),
        ),
    ],
)
def test_the_condition_monitoring_ready(status: KerasModelStatus, expected: tuple[str, str]) -> None:
    assert find_condition(status, ConditionType.MONITORING_READY) == expected


def test_a_missing_permission_is_reported_and_one_for_service_monitors_leaves_a_model_ready() -> None:
    subject = model(PREPARED)
    observed = observed_state(subject, deployed(), pods=(NEW,), service_monitors=True)
    for kind, expected in ((POD, ("False", "Forbidden")), (SERVICE_MONITOR, ("True", "Serving"))):
        without_permission = replace(observed, forbidden={kind: ApplyError(Reason.FORBIDDEN, "no permission to list")})
        status = summarize(subject, without_permission, decide(subject, without_permission, CONFIG), {}, CONFIG)
        assert find_condition(status, ConditionType.READY) == expected
        monitoring = find_condition(status, ConditionType.MONITORING_READY)
        assert (monitoring == ("False", "Forbidden")) is (kind == SERVICE_MONITOR)


def test_a_service_monitor_that_cannot_be_applied_leaves_a_model_ready() -> None:
    errors = {Ref(SERVICE_MONITOR, "digits"): ApplyError(Reason.FORBIDDEN, "no permission")}
    status = status_of(deployed(), pods=(NEW,), status=PREPARED, errors=errors, service_monitors=True)
    assert find_condition(status, ConditionType.READY) == ("True", "Serving")


def test_a_transition_time_moves_only_with_the_status() -> None:
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "Resolving",
        "message": "m",
        "lastTransitionTime": ago(900),
    }
    status = status_of((JOB, job(REVISION)), status={"conditions": [condition]})
    ready = next(each for each in status.conditions if each.type == "Ready")
    assert (ready.reason, ready.last_transition_time) == ("Preparing", ago(900))


def test_a_failure_keeps_the_time_of_its_first_observation() -> None:
    first = status_of(FAILED_JOB, pods=UNSAFE)
    assert first.last_failure is not None
    assert first.last_failure.time == ago(0)
    again = status_of(
        FAILED_JOB, pods=UNSAFE, status={"lastFailure": {**msgspec.to_builtins(first.last_failure), "time": ago(99)}}
    )
    assert again.last_failure is not None
    assert again.last_failure.time == ago(99)


def test_a_fixed_failure_is_kept() -> None:
    past = {"step": "prepare", "reason": "OutOfMemory", "message": "m", "time": ago(99)}
    status = status_of(deployed(), pods=(NEW,), status={**PREPARED, "lastFailure": past})
    assert status.last_failure is not None
    assert status.last_failure.reason == "OutOfMemory"


def test_history_holds_the_last_five_served_revisions_newest_first() -> None:
    past = [{"revision": f"r{n}", "digest": "d", "servedFrom": ago(n)} for n in range(5)]
    status = status_of(deployed(), pods=(NEW,), status={**PREPARED, "history": past})
    assert [entry.revision for entry in status.history] == [REVISION, "r0", "r1", "r2", "r3"]
    assert status.history[0].metrics == {"accuracy": "0.97"}


def test_a_revision_enters_the_history_once() -> None:
    once = status_of(deployed(), pods=(NEW,), status=PREPARED)
    twice = status_of(deployed(), pods=(NEW,), status=msgspec.to_builtins(once))
    assert twice == once


def test_the_url_is_reported_once_the_service_exists() -> None:
    assert status_of().url == ""
    assert status_of((SERVICE, live(SERVICE, service(model())))).url == "http://digits.team-a.svc:8080"


def status_after_spec_error(*children: Any, pods: tuple[Object, ...] = ()) -> KerasModelStatus:
    """The status of a served model after its spec became invalid."""
    before = status_of(MONITOR, deployed(), pods=(NEW,), status=PREPARED, service_monitors=True)
    assert find_condition(before, ConditionType.READY) == ("True", "Serving")
    subject = model(msgspec.to_builtins(before))
    observed = observed_state(subject, *children, pods=pods, service_monitors=True)
    return spec_invalid(subject, SpecError("spec.serving: invalid"), observed, CONFIG)


def test_a_spec_error_stalls_and_keeps_the_prepared_revision() -> None:
    status = status_after_spec_error(MONITOR, deployed(), pods=(NEW,))
    assert find_condition(status, ConditionType.STALLED) == ("True", "SpecInvalid")
    assert find_condition(status, ConditionType.READY) == ("False", "SpecInvalid")
    assert find_condition(status, ConditionType.MODEL_PREPARED) == ("True", "Prepared")
    assert (status.prepared_revision, status.model) == (REVISION, summary())


def test_a_spec_error_does_not_end_serving() -> None:
    status = status_after_spec_error(MONITOR, deployed(), pods=(NEW,))
    assert find_condition(status, ConditionType.AVAILABLE) == ("True", "Serving")
    assert find_condition(status, ConditionType.MONITORING_READY) == ("True", "ServiceMonitorApplied")
    assert (status.serving_revision, status.replicas, status.ready_replicas) == (REVISION, 1, 1)


def test_after_a_spec_error_only_what_is_served_is_reported_as_served() -> None:
    status = status_after_spec_error()
    assert find_condition(status, ConditionType.AVAILABLE) == ("False", "NoReplicaReady")
    assert find_condition(status, ConditionType.MONITORING_READY) == ("False", "ServiceMonitorPending")
    assert (status.serving_revision, status.replicas, status.ready_replicas, status.url) == ("", 0, 0, "")
