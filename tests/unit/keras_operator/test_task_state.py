"""The state of a task: not started, running, retrying, failed or succeeded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from operator_makers import ago, ended, failure, job, model, observed_state, pod, prepare_pod, success, summary

from keras_api.memory import GIB
from keras_api.reasons import Reason
from keras_api.step_report import StepReport, encode_report
from keras_operator.cache.objects import pod_of
from keras_operator.kube.kinds import JOB, Object
from keras_operator.naming.sizing import Memory, prepare_mib
from keras_operator.state.observed import Observed
from keras_operator.state.source_resolution import SourceResolution
from keras_operator.tasks import PREPARE, TASKS
from keras_operator.tasks.chain import ChainState, chain_state
from keras_operator.tasks.state import Failed, NotStarted, Retrying, Running, Succeeded, TaskState, task_state

REVISION = observed_state(model()).revision


def state_of(*jobs: Object, pods: tuple[Object, ...] = (), status: Object | None = None, **situation: Any) -> TaskState:
    subject = model(status)
    return task_state(
        PREPARE, subject, observed_state(subject, *((JOB, each) for each in jobs), pods=pods, **situation)
    )


def failed_job(**more: Any) -> Object:
    return job(REVISION, ended="Failed", reason="PodFailurePolicy", **more)


def test_no_task_runs_before_the_source_has_answered() -> None:
    subject = model()
    found = chain_state(TASKS, subject, observed_state(subject, resolution=SourceResolution()))
    assert found == ChainState(resolved=False)
    assert found.summary is None


def test_a_revision_without_a_job_needs_one() -> None:
    assert state_of() == NotStarted()


def test_a_job_without_an_end_is_running() -> None:
    assert state_of(job(REVISION), pods=(prepare_pod(REVISION),)) == Running()


def test_the_report_of_a_complete_job_is_the_result() -> None:
    found = state_of(job(REVISION, ended="Complete"), pods=(prepare_pod(REVISION, ended(), success(REVISION)),))
    assert found == Succeeded(result=summary())


def test_a_bundle_in_status_needs_no_job() -> None:
    found = state_of(status={"preparedRevision": REVISION, "model": msgspec.to_builtins(summary())})
    assert found == Succeeded(result=summary())


REMEMBERED = {"preparedRevision": REVISION, "model": msgspec.to_builtins(summary())}


@pytest.mark.parametrize(
    ("jobs", "state"),
    [
        ((), NotStarted),
        ((job(REVISION, ended="Complete", ended_ago=300),), NotStarted),
        ((job(REVISION),), Running),
        ((job(REVISION, ended="Complete", ended_ago=5),), Succeeded),
    ],
    ids=["no Job", "an earlier run", "being prepared again", "prepared again"],
)
def test_a_bundle_that_the_store_has_lost_is_prepared_again(jobs: tuple[Object, ...], state: type[TaskState]) -> None:
    lost = failure(REVISION, Reason.BUNDLE_INVALID)
    lost["terminated"]["finishedAt"] = ago(60)
    server = pod("server", REVISION, containerStatuses=[{"name": "server", "lastState": lost}])
    found = state_of(*jobs, pods=(server,), status=REMEMBERED)
    assert isinstance(found, state)
    # Status reports the loss until the bundle is prepared again.
    assert (found.failure and found.failure.reason) == (Reason.BUNDLE_INVALID if state is Running else None)


@pytest.mark.parametrize("status", ["True", "False"])
def test_a_bundle_that_was_lost_once_is_not_lost_forever(status: str) -> None:
    """Its Job has been deleted, and the status of the container still contains the previous run."""
    lost = failure(REVISION, Reason.BUNDLE_INVALID)
    lost["terminated"]["finishedAt"] = ago(60)
    found_since = {"type": "Ready", "status": status, "lastTransitionTime": ago(30)}
    containers = [{"name": "server", "state": {"running": {}}, "lastState": lost}]
    server = pod("server", REVISION, phase="Running", conditions=[found_since], containerStatuses=containers)
    assert isinstance(state_of(pods=(server,), status=REMEMBERED), Succeeded)


def state_of_stored(*jobs: Object, pods: tuple[Object, ...] = (), status: Object | None = None) -> TaskState:
    """As `state_of`, where the store has answered that it has the bundle."""
    subject = model(status)
    observed = observed_state(subject, *((JOB, each) for each in jobs), pods=pods)
    return task_state(PREPARE, subject, replace(observed, stored=summary("tensorflow")))


def test_a_bundle_in_the_store_needs_no_job() -> None:
    assert state_of_stored() == Succeeded(result=summary("tensorflow"))


def test_a_manifest_proves_nothing_when_a_pod_reports_a_broken_bundle() -> None:
    lost = failure(REVISION, Reason.BUNDLE_INVALID)
    lost["terminated"]["finishedAt"] = ago(60)
    server = pod("server", REVISION, containerStatuses=[{"name": "server", "lastState": lost}])
    assert isinstance(state_of_stored(pods=(server,)), NotStarted)


def test_a_job_that_exists_decides_whatever_the_store_has() -> None:
    assert isinstance(state_of_stored(job(REVISION), pods=(prepare_pod(REVISION),)), Running)


def test_another_revision_in_status_does_not_count() -> None:
    assert isinstance(
        state_of(status={"preparedRevision": "other", "model": msgspec.to_builtins(summary())}), NotStarted
    )


def test_a_report_may_arrive_a_moment_after_the_end_of_the_job() -> None:
    assert isinstance(state_of(job(REVISION, ended="Complete", ended_ago=1)), Running)


def test_a_job_whose_report_is_lost_runs_again() -> None:
    assert isinstance(state_of(job(REVISION, ended="Complete", ended_ago=60)), NotStarted)


def test_a_report_about_another_revision_is_ignored() -> None:
    pods = (prepare_pod(REVISION, ended(), success("other")),)
    assert isinstance(state_of(job(REVISION, ended="Complete", ended_ago=60), pods=pods), NotStarted)


@pytest.mark.parametrize(
    ("states", "job_reason", "reason", "state"),
    [
        ([ended(), failure(REVISION, Reason.MODEL_UNSAFE)], "", Reason.MODEL_UNSAFE, Failed),
        ([failure(REVISION, Reason.SOURCE_UNREACHABLE)], "", Reason.SOURCE_UNREACHABLE, NotStarted),
        ([ended(), ended(), failure(REVISION, Reason.STORE_UNAVAILABLE)], "", Reason.STORE_UNAVAILABLE, NotStarted),
        ([ended(), ended(137, reason="OOMKilled")], "", Reason.OUT_OF_MEMORY, NotStarted),
        ([ended(), ended(139, "segmentation fault")], "", Reason.PREPARE_FAILED, Failed),
        ([ended()], "DeadlineExceeded", Reason.DEADLINE_EXCEEDED, Failed),
        ([], "BackoffLimitExceeded", Reason.PREPARE_FAILED, NotStarted),
    ],
    ids=["unsafe", "source unavailable", "store unavailable", "memory", "crash", "deadline", "pod without a report"],
)
def test_a_failed_job_is_judged_by_its_cause(
    states: list[Object], job_reason: str, reason: Reason, state: type[TaskState]
) -> None:
    found = state_of(job(REVISION, ended="Failed", reason=job_reason), pods=(prepare_pod(REVISION, *states),))
    assert found.failure is not None
    assert (found.failure.reason, type(found)) == (reason, state)


def test_the_end_of_the_log_of_a_crash_is_reported() -> None:
    pods = (prepare_pod(REVISION, ended(), ended(139, "segmentation fault\n")),)
    found = state_of(failed_job(), pods=pods)
    assert found.failure is not None
    assert found.failure.message == "container prepare of pod job-pod exited with 139: segmentation fault"
    assert found.failure.exit_code == 139


@pytest.mark.parametrize(("attempt", "pause"), [(1, 10), (2, 20), (4, 80), (20, 600)])
def test_pauses_between_attempts_grow(attempt: int, pause: int) -> None:
    pods = (prepare_pod(REVISION, failure(REVISION, Reason.STORE_UNAVAILABLE)),)
    early = state_of(failed_job(attempt=str(attempt), ended_ago=pause - 1), pods=pods)
    late = state_of(failed_job(attempt=str(attempt), ended_ago=pause + 1), pods=pods)
    assert (type(early), type(late)) == (Retrying, NotStarted)
    assert late.attempt == attempt + 1


def test_twice_the_memory_is_given_once() -> None:
    pods = (prepare_pod(REVISION, ended(), ended(137, reason="OOMKilled")),)
    first = state_of(failed_job(ended_ago=60), pods=pods)
    assert (type(first), first.memory) == (NotStarted, Memory(factor=2))
    assert isinstance(state_of(failed_job(memory_factor="2", ended_ago=60), pods=pods), Failed)


def fetched(size: int) -> Object:
    return ended(0, encode_report(StepReport(step="fetch", revision=REVISION, fetched_bytes=size)).decode())


KILLED = ended(137, reason="OOMKilled")


@pytest.mark.parametrize(
    ("states", "had", "next_one", "message_part"),
    [
        (
            [fetched(2 * GIB), KILLED],
            (3136, 1),
            (prepare_mib(2 * GIB), 1),
            "once with the memory that a model file of 2147483648 b",
        ),
        ([fetched(2 * GIB), KILLED], (prepare_mib(2 * GIB), 1), (prepare_mib(2 * GIB), 2), "once with twice"),
        ([fetched(2 * GIB), KILLED], (40_000, 1), (40_000, 2), "once with twice"),
        ([fetched(7), KILLED], (3136, 1), (3136, 2), "once with twice"),
        ([fetched(2 * GIB), KILLED], (3136, 2), (prepare_mib(2 * GIB), 2), "once with the memory that a model file of"),
        ([fetched(2 * GIB), ended(), KILLED], (3136, 1), (3136, 2), "once with twice"),
        ([KILLED], (3136, 1), (3136, 2), "once with twice"),
        ([KILLED], (3136, 2), None, "increase the chart value prepare.memory, then delete the Job"),
        ([fetched(7), KILLED], (3136, 2), None, "increase the chart value prepare.memory, then delete the Job"),
        (
            [fetched(7), ended(), KILLED],
            (3136, 2),
            None,
            "increase the chart value prepare.memory, then delete the Job",
        ),
    ],
    ids=[
        "a file larger than assumed",
        "a file with its usual memory",
        "a file with more than its usual memory",
        "a file smaller than assumed",
        "a file larger than assumed, after fetch or put was killed",
        "put",
        "fetch",
        "fetch again",
        "prepare again",
        "put again",
    ],
)
def test_a_killed_container_gets_the_memory_that_it_needs(
    states: list[Object], had: tuple[int, int], next_one: tuple[int, int] | None, message_part: str
) -> None:
    annotations = {"memory_mib": str(had[0]), "memory_factor": str(had[1])}
    found = state_of(failed_job(ended_ago=60, **annotations), pods=(prepare_pod(REVISION, *states),))
    assert found.failure is not None
    assert message_part in found.failure.message
    if next_one is None:
        assert isinstance(found, Failed)
    else:
        assert (type(found), found.memory) == (NotStarted, Memory(*next_one))


def test_another_attempt_has_the_memory_of_the_one_before() -> None:
    job = failed_job(memory_mib="9000", memory_factor="2", ended_ago=60)
    found = state_of(job, pods=(prepare_pod(REVISION, failure(REVISION, Reason.STORE_UNAVAILABLE)),))
    assert (type(found), found.memory) == (NotStarted, Memory(9000, 2))


def test_pods_of_an_earlier_attempt_do_not_count() -> None:
    pods = (pod("prepare", REVISION, owner="an earlier job", phase="Failed"),)
    assert state_of(job(REVISION), pods=pods) == Running()


def test_a_pod_that_does_not_start_is_reported_while_the_job_runs() -> None:
    unschedulable = {"type": "PodScheduled", "status": "False", "message": "no node has memory"}
    pending = pod("prepare", REVISION, owner=f"uid-job-{REVISION}", conditions=[unschedulable])
    found = state_of(job(REVISION), pods=(pending,))
    assert (type(found), found.failure and found.failure.reason) == (Running, Reason.UNSCHEDULABLE)


def evicted(name: str = "job-pod") -> Object:
    why = 'Container prepare exceeded its local ephemeral storage limit "10Mi". '
    killed = [{"name": "fetch", "state": ended()}, {"name": "prepare", "state": ended(137)}]
    status = {"phase": "Failed", "reason": "Evicted", "message": why, "initContainerStatuses": killed}
    return pod("prepare", REVISION, name, owner=f"uid-job-{REVISION}", **status)


def test_an_eviction_is_reported_and_retried() -> None:
    found = state_of(failed_job(), pods=(evicted(),))
    assert found.failure is not None
    assert (found.failure.reason, type(found)) == (Reason.EVICTED, NotStarted)
    assert "ephemeral storage limit" in found.failure.message


def test_an_evicted_pod_that_was_replaced_is_no_failure() -> None:
    assert state_of(job(REVISION), pods=(evicted("first"), prepare_pod(REVISION))).failure is None


def test_a_second_kill_is_reported_with_a_remedy() -> None:
    pods = (prepare_pod(REVISION, ended(), ended(137, reason="OOMKilled")),)
    first = state_of(failed_job(ended_ago=60), pods=pods).failure
    second = state_of(failed_job(memory_factor="2", ended_ago=60), pods=pods).failure
    assert first is not None
    assert "retries once with twice the memory" in first.message
    assert second is not None
    assert "spec.serving.runtime tensorflow" in second.message


def overdue_job(*, ended: str = "Failed") -> Object:
    return job(REVISION, ended=ended, reason="DeadlineExceeded")


@pytest.mark.parametrize(
    ("states", "doing"),
    [
        ([{"running": {}}], "container fetch of pod job-pod was still downloading s3://models/digits.keras"),
        ([ended(), {"running": {}}], "container prepare of pod job-pod was still converting the model"),
        ([ended(), ended(), {"terminated": {"exitCode": 137}}], "container put of pod job-pod was still uploading"),
    ],
)
@pytest.mark.parametrize("end", ["FailureTarget", "Failed"])
def test_a_job_at_its_deadline_is_reported_with_its_activity(states: list[Object], doing: str, end: str) -> None:
    found = state_of(overdue_job(ended=end), pods=(prepare_pod(REVISION, *states),))
    assert found.failure is not None
    assert (found.failure.reason, found.failure.final) == (Reason.DEADLINE_EXCEEDED, True)
    assert doing in found.failure.message
    assert "prepare.deadline" in found.failure.message


@pytest.mark.parametrize(
    ("reason", "before", "expected"),
    [
        ("Unschedulable", "no node has memory", "took longer than its deadline: no node has memory; "),
        (
            "DeadlineExceeded",
            "Job x took longer than its deadline: downloading",
            "longer than its deadline: downloading",
        ),
        ("Preparing", "Job x is running", "its pod no longer exists"),
    ],
)
def test_the_obstacle_of_a_job_at_its_deadline_is_kept_after_its_pod_is_deleted(
    reason: str, before: str, expected: str
) -> None:
    condition = {"type": "ModelPrepared", "status": "False", "reason": reason, "message": before}
    condition |= {"lastTransitionTime": ago(60), "observedGeneration": 1}
    found = state_of(overdue_job(), status={"desiredRevision": REVISION, "conditions": [condition]})
    assert found.failure is not None
    assert expected in found.failure.message
    assert found.failure.message.count("took longer") == 1


def test_an_address_is_reported_without_its_query() -> None:
    subject = model(source={"uri": "https://host/m.keras?signature=p4ssw0rd"})
    revision = observed_state(subject).revision
    late = job(revision, ended="Failed", reason="DeadlineExceeded")
    found = task_state(
        PREPARE, subject, observed_state(subject, (JOB, late), pods=(prepare_pod(revision, {"running": {}}),))
    )
    assert found.failure is not None
    assert "downloading https://host/m.keras; " in found.failure.message


def test_a_condition_of_another_revision_is_not_the_obstacle_of_a_job() -> None:
    condition = {"type": "ModelPrepared", "status": "False", "reason": "Unschedulable", "message": "no node"}
    condition |= {"lastTransitionTime": ago(60), "observedGeneration": 1}
    found = state_of(overdue_job(), status={"desiredRevision": "other", "conditions": [condition]})
    assert found.failure is not None
    assert "no node" not in found.failure.message


def removed(observed: Observed, pod: Object) -> Observed:
    """As when the watch of pods reports the deletion before the watch of Jobs reports the end."""
    return replace(observed, pods=(), removed_pods=(pod_of(pod),))


@pytest.mark.parametrize("end", ["FailureTarget", "Failed"])
def test_the_activity_at_the_deadline_is_known_when_the_pod_is_deleted_first(end: str) -> None:
    subject = model()
    observed = removed(observed_state(subject, (JOB, overdue_job(ended=end))), prepare_pod(REVISION, {"running": {}}))
    found = task_state(PREPARE, subject, observed)
    assert found.failure is not None
    assert "container fetch of pod job-pod was still downloading" in found.failure.message


def test_the_report_of_a_deleted_pod_is_the_result() -> None:
    subject = model()
    complete = (JOB, job(REVISION, ended="Complete", ended_ago=1))
    observed = removed(observed_state(subject, complete), prepare_pod(REVISION, ended(), success(REVISION)))
    assert task_state(PREPARE, subject, observed) == Succeeded(result=summary())


def test_the_failure_report_of_a_deleted_pod_is_the_cause() -> None:
    subject = model()
    observed = removed(
        observed_state(subject, (JOB, failed_job())), prepare_pod(REVISION, failure(REVISION, Reason.MODEL_UNSAFE))
    )
    found = task_state(PREPARE, subject, observed)
    assert (type(found), found.failure and found.failure.reason) == (Failed, Reason.MODEL_UNSAFE)


def test_a_container_that_was_killed_by_the_deletion_of_its_pod_is_not_the_cause() -> None:
    subject = model()
    observed = removed(observed_state(subject, (JOB, failed_job())), prepare_pod(REVISION, ended(137)))
    found = task_state(PREPARE, subject, observed)
    assert type(found) is NotStarted
    assert found.failure is not None
    assert "its pod left no report" in found.failure.message
