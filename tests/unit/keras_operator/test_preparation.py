"""How a prepare Job is read: at work, done, to be tried again, or waiting for a human."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from operator_makers import ago, ended, failure, job, model, pod, prepare_pod, scene, success, summary

from keras_api.memory import GIB
from keras_api.reasons import Reason
from keras_api.step_report import StepReport, encode_report
from keras_operator.decide.preparation import Preparation, preparation
from keras_operator.kube.kinds import JOB, Object
from keras_operator.naming.sizing import Memory, prepare_mib
from keras_operator.state.source_resolution import SourceResolution

REVISION = scene(model()).revision


def judge(*jobs: Object, pods: tuple[Object, ...] = (), status: Object | None = None, **scenery: Any) -> Preparation:
    subject = model(status)
    return preparation(subject, scene(subject, *((JOB, each) for each in jobs), pods=pods, **scenery))


def failed_job(**more: Any) -> Object:
    return job(REVISION, ended="Failed", reason="PodFailurePolicy", **more)


def test_nothing_is_prepared_before_the_source_has_answered() -> None:
    assert judge(resolution=SourceResolution()).stage == "unresolved"


def test_a_revision_without_a_job_gets_one() -> None:
    assert judge() == Preparation("start")


def test_a_running_job_is_waited_for() -> None:
    assert judge(job(REVISION), pods=(prepare_pod(REVISION),)) == Preparation("running")


def test_the_report_of_a_complete_job_is_the_result() -> None:
    found = judge(job(REVISION, ended="Complete"), pods=(prepare_pod(REVISION, ended(), success(REVISION)),))
    assert (found.stage, found.model) == ("done", summary())


def test_what_status_remembers_needs_no_job() -> None:
    found = judge(status={"preparedRevision": REVISION, "model": msgspec.to_builtins(summary())})
    assert (found.stage, found.model) == ("done", summary())


REMEMBERED = {"preparedRevision": REVISION, "model": msgspec.to_builtins(summary())}


@pytest.mark.parametrize(
    ("jobs", "stage"),
    [
        ((), "start"),
        ((job(REVISION, ended="Complete", ended_ago=300),), "start"),
        ((job(REVISION),), "running"),
        ((job(REVISION, ended="Complete", ended_ago=5),), "done"),
    ],
    ids=["no Job", "an earlier run", "being prepared again", "prepared again"],
)
def test_a_bundle_that_the_store_has_lost_is_prepared_again(jobs: tuple[Object, ...], stage: str) -> None:
    lost = failure(REVISION, Reason.BUNDLE_INVALID)
    lost["terminated"]["finishedAt"] = ago(60)
    server = pod("server", REVISION, containerStatuses=[{"name": "server", "lastState": lost}])
    found = judge(*jobs, pods=(server,), status=REMEMBERED)
    assert found.stage == stage
    # While it is being repaired, status says what is.
    assert (found.failure and found.failure.reason) == (Reason.BUNDLE_INVALID if stage == "running" else None)


@pytest.mark.parametrize("status", ["True", "False"])
def test_a_bundle_that_was_lost_once_is_not_lost_for_ever(status: str) -> None:
    """Its Job is gone by now, and the container still remembers the run before."""
    lost = failure(REVISION, Reason.BUNDLE_INVALID)
    lost["terminated"]["finishedAt"] = ago(60)
    found_since = {"type": "Ready", "status": status, "lastTransitionTime": ago(30)}
    containers = [{"name": "server", "state": {"running": {}}, "lastState": lost}]
    server = pod("server", REVISION, phase="Running", conditions=[found_since], containerStatuses=containers)
    assert judge(pods=(server,), status=REMEMBERED).stage == "done"


def judge_stored(*jobs: Object, pods: tuple[Object, ...] = (), status: Object | None = None) -> Preparation:
    """As `judge`, where the store has answered that it has the bundle."""
    subject = model(status)
    observed = scene(subject, *((JOB, each) for each in jobs), pods=pods)
    return preparation(subject, replace(observed, stored=summary("tensorflow")))


def test_what_is_in_the_store_needs_no_job() -> None:
    assert judge_stored() == Preparation("done", model=summary("tensorflow"))


def test_the_store_is_not_believed_when_a_pod_has_found_the_bundle_broken() -> None:
    lost = failure(REVISION, Reason.BUNDLE_INVALID)
    lost["terminated"]["finishedAt"] = ago(60)
    server = pod("server", REVISION, containerStatuses=[{"name": "server", "lastState": lost}])
    assert judge_stored(pods=(server,)).stage == "start"


def test_a_job_that_was_made_is_listened_to_whatever_the_store_says() -> None:
    assert judge_stored(job(REVISION), pods=(prepare_pod(REVISION),)).stage == "running"


def test_what_status_remembers_of_another_revision_does_not_count() -> None:
    assert judge(status={"preparedRevision": "other", "model": msgspec.to_builtins(summary())}).stage == "start"


def test_a_report_may_come_a_moment_after_the_end() -> None:
    assert judge(job(REVISION, ended="Complete", ended_ago=1)).stage == "running"


def test_a_report_that_never_came_makes_the_job_run_again() -> None:
    assert judge(job(REVISION, ended="Complete", ended_ago=60)).stage == "start"


def test_a_report_about_another_revision_is_none() -> None:
    pods = (prepare_pod(REVISION, ended(), success("other")),)
    assert judge(job(REVISION, ended="Complete", ended_ago=60), pods=pods).stage == "start"


@pytest.mark.parametrize(
    ("states", "job_reason", "reason", "stage"),
    [
        ([ended(), failure(REVISION, Reason.MODEL_UNSAFE)], "", Reason.MODEL_UNSAFE, "failed"),
        ([failure(REVISION, Reason.SOURCE_UNREACHABLE)], "", Reason.SOURCE_UNREACHABLE, "start"),
        ([ended(), ended(), failure(REVISION, Reason.STORE_UNAVAILABLE)], "", Reason.STORE_UNAVAILABLE, "start"),
        ([ended(), ended(137, reason="OOMKilled")], "", Reason.OUT_OF_MEMORY, "start"),
        ([ended(), ended(139, "segmentation fault")], "", Reason.PREPARE_FAILED, "failed"),
        ([ended()], "DeadlineExceeded", Reason.DEADLINE_EXCEEDED, "failed"),
        ([], "BackoffLimitExceeded", Reason.PREPARE_FAILED, "start"),
    ],
    ids=["unsafe", "source away", "store away", "memory", "crash", "deadline", "pod without a word"],
)
def test_a_failed_job_is_judged_by_its_cause(states: list[Object], job_reason: str, reason: Reason, stage: str) -> None:
    found = judge(job(REVISION, ended="Failed", reason=job_reason), pods=(prepare_pod(REVISION, *states),))
    assert found.failure is not None
    assert (found.failure.reason, found.stage) == (reason, stage)


def test_the_last_words_of_a_crash_are_told() -> None:
    pods = (prepare_pod(REVISION, ended(), ended(139, "segmentation fault\n")),)
    found = judge(failed_job(), pods=pods)
    assert found.failure is not None
    assert found.failure.message == "container prepare of pod job-pod exited with 139: segmentation fault"
    assert found.failure.exit_code == 139


@pytest.mark.parametrize(("attempt", "pause"), [(1, 10), (2, 20), (4, 80), (20, 600)])
def test_pauses_between_attempts_grow(attempt: int, pause: int) -> None:
    pods = (prepare_pod(REVISION, failure(REVISION, Reason.STORE_UNAVAILABLE)),)
    early = judge(failed_job(attempt=str(attempt), ended_ago=pause - 1), pods=pods)
    late = judge(failed_job(attempt=str(attempt), ended_ago=pause + 1), pods=pods)
    assert (early.stage, late.stage) == ("retry", "start")
    assert late.attempt == attempt + 1


def test_twice_the_memory_is_given_once() -> None:
    pods = (prepare_pod(REVISION, ended(), ended(137, reason="OOMKilled")),)
    first = judge(failed_job(ended_ago=60), pods=pods)
    assert (first.stage, first.memory) == ("start", Memory(factor=2))
    assert judge(failed_job(memory_factor="2", ended_ago=60), pods=pods).stage == "failed"


def fetched(size: int) -> Object:
    return ended(0, encode_report(StepReport(step="fetch", revision=REVISION, fetched_bytes=size)).decode())


KILLED = ended(137, reason="OOMKilled")


@pytest.mark.parametrize(
    ("states", "had", "next_one", "words"),
    [
        (
            [fetched(2 * GIB), KILLED],
            (3136, 1),
            (prepare_mib(2 * GIB), 1),
            "once more with what a model file of 2147483648 b",
        ),
        ([fetched(2 * GIB), KILLED], (prepare_mib(2 * GIB), 1), (prepare_mib(2 * GIB), 2), "once more with twice"),
        ([fetched(2 * GIB), KILLED], (40_000, 1), (40_000, 2), "once more with twice"),
        ([fetched(7), KILLED], (3136, 1), (3136, 2), "once more with twice"),
        ([fetched(2 * GIB), KILLED], (3136, 2), (prepare_mib(2 * GIB), 2), "once more with what a model file of"),
        ([fetched(2 * GIB), ended(), KILLED], (3136, 1), (3136, 2), "once more with twice"),
        ([KILLED], (3136, 1), (3136, 2), "once more with twice"),
        ([KILLED], (3136, 2), None, "raise prepare.memory of the chart, then delete the Job"),
        ([fetched(7), KILLED], (3136, 2), None, "raise prepare.memory of the chart, then delete the Job"),
        ([fetched(7), ended(), KILLED], (3136, 2), None, "raise prepare.memory of the chart, then delete the Job"),
    ],
    ids=[
        "a file larger than was assumed",
        "that had what such a file takes",
        "that had more",
        "a file smaller than was assumed",
        "a larger file after fetch or put was killed",
        "put",
        "fetch",
        "fetch again",
        "prepare again",
        "put again",
    ],
)
def test_what_was_killed_gets_what_it_lacked(
    states: list[Object], had: tuple[int, int], next_one: tuple[int, int] | None, words: str
) -> None:
    annotations = {"memory_mib": str(had[0]), "memory_factor": str(had[1])}
    found = judge(failed_job(ended_ago=60, **annotations), pods=(prepare_pod(REVISION, *states),))
    assert found.failure is not None
    assert words in found.failure.message
    if next_one is None:
        assert found.stage == "failed"
    else:
        assert (found.stage, found.memory) == ("start", Memory(*next_one))


def test_another_attempt_has_the_memory_of_the_one_before() -> None:
    job = failed_job(memory_mib="9000", memory_factor="2", ended_ago=60)
    away = judge(job, pods=(prepare_pod(REVISION, failure(REVISION, Reason.STORE_UNAVAILABLE)),))
    assert (away.stage, away.memory) == ("start", Memory(9000, 2))


def test_pods_of_an_earlier_attempt_do_not_count() -> None:
    pods = (pod("prepare", REVISION, owner="an earlier job", phase="Failed"),)
    assert judge(job(REVISION), pods=pods) == Preparation("running")


def test_a_pod_that_hangs_is_told_while_the_job_goes_on() -> None:
    no_room = {"type": "PodScheduled", "status": "False", "message": "no node has memory"}
    hanging = pod("prepare", REVISION, owner=f"uid-job-{REVISION}", conditions=[no_room])
    found = judge(job(REVISION), pods=(hanging,))
    assert (found.stage, found.failure and found.failure.reason) == ("running", Reason.UNSCHEDULABLE)


def evicted(name: str = "job-pod") -> Object:
    why = 'Container prepare exceeded its local ephemeral storage limit "10Mi". '
    killed = [{"name": "fetch", "state": ended()}, {"name": "prepare", "state": ended(137)}]
    status = {"phase": "Failed", "reason": "Evicted", "message": why, "initContainerStatuses": killed}
    return pod("prepare", REVISION, name, owner=f"uid-job-{REVISION}", **status)


def test_an_eviction_is_told_as_such_and_tried_again() -> None:
    found = judge(failed_job(), pods=(evicted(),))
    assert found.failure is not None
    assert (found.failure.reason, found.stage) == (Reason.EVICTED, "start")
    assert "ephemeral storage limit" in found.failure.message


def test_an_evicted_pod_that_was_replaced_is_no_trouble() -> None:
    assert judge(job(REVISION), pods=(evicted("first"), prepare_pod(REVISION))).failure is None


def test_memory_that_did_not_suffice_twice_is_told_with_what_takes_less() -> None:
    pods = (prepare_pod(REVISION, ended(), ended(137, reason="OOMKilled")),)
    first = judge(failed_job(ended_ago=60), pods=pods).failure
    second = judge(failed_job(memory_factor="2", ended_ago=60), pods=pods).failure
    assert first is not None
    assert "tried once more with twice the memory" in first.message
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
def test_a_job_that_took_too_long_is_told_with_what_it_was_doing(states: list[Object], doing: str, end: str) -> None:
    found = judge(overdue_job(ended=end), pods=(prepare_pod(REVISION, *states),))
    assert found.failure is not None
    assert (found.failure.reason, found.failure.final) == (Reason.DEADLINE_EXCEEDED, True)
    assert doing in found.failure.message
    assert "prepare.deadline" in found.failure.message


@pytest.mark.parametrize(
    ("reason", "said", "told"),
    [
        ("Unschedulable", "no node has memory", "took longer than its deadline: no node has memory; "),
        (
            "DeadlineExceeded",
            "Job x took longer than its deadline: downloading",
            "longer than its deadline: downloading",
        ),
        ("Preparing", "Job x is at work", "its pod is gone without a word"),
    ],
)
def test_what_an_overdue_job_waited_for_is_remembered_when_its_pod_is_gone(reason: str, said: str, told: str) -> None:
    condition = {"type": "ModelPrepared", "status": "False", "reason": reason, "message": said}
    condition |= {"lastTransitionTime": ago(60), "observedGeneration": 1}
    found = judge(overdue_job(), status={"desiredRevision": REVISION, "conditions": [condition]})
    assert found.failure is not None
    assert told in found.failure.message
    assert found.failure.message.count("took longer") == 1


def test_an_address_is_told_without_what_may_be_secret_in_it() -> None:
    subject = model(source={"uri": "https://host/m.keras?signature=p4ssw0rd"})
    revision = scene(subject).revision
    late = job(revision, ended="Failed", reason="DeadlineExceeded")
    found = preparation(subject, scene(subject, (JOB, late), pods=(prepare_pod(revision, {"running": {}}),)))
    assert found.failure is not None
    assert "downloading https://host/m.keras; " in found.failure.message


def test_what_was_said_of_another_revision_is_not_what_an_overdue_job_waited_for() -> None:
    condition = {"type": "ModelPrepared", "status": "False", "reason": "Unschedulable", "message": "no node"}
    condition |= {"lastTransitionTime": ago(60), "observedGeneration": 1}
    found = judge(overdue_job(), status={"desiredRevision": "other", "conditions": [condition]})
    assert found.failure is not None
    assert "no node" not in found.failure.message
