"""The chain of tasks: the next task, and the inputs of its Job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from operator_makers import CONFIG, ago, job, model, observed_state, pod, summary

from keras_api.reasons import Reason
from keras_api.step_report import StepReport, encode_report
from keras_operator.decide.plan import decide
from keras_operator.kube.kinds import JOB, Object
from keras_operator.state.observed import Observed
from keras_operator.tasks import PREPARE
from keras_operator.tasks.base import Task, TaskInputs
from keras_operator.tasks.chain import chain_state
from keras_operator.tasks.state import NotStarted, Running, Succeeded

REVISION = observed_state(model()).revision


class CountTask(Task):
    """A task whose Job contains the inputs that it is rendered from."""

    condition = "Counted"
    running, succeeded, failed = Reason.PREPARING, Reason.PREPARED, Reason.PREPARE_FAILED
    deadline_remedy = memory_remedy = "count less"

    def __init__(self, name: str) -> None:
        self.name = name

    def job(self, inputs: TaskInputs) -> Object:
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": self.job_name(inputs.model, inputs.observed)},
            "results": dict(inputs.results),
        }

    def result(self, report: StepReport) -> Any:
        return report.result

    def success_message(self, revision: str) -> str:
        return f"revision {revision} is counted"


FIRST, SECOND = CountTask("first"), CountTask("second")
PREPARED = {"preparedRevision": REVISION, "model": msgspec.to_builtins(summary())}


def job_of(task: Task, *, complete: bool = False) -> tuple[Any, Object]:
    obj = job(REVISION, ended="Complete" if complete else "")
    obj["metadata"] |= {"name": task.job_name(model(), observed_state(model())), "uid": f"uid-{task.name}"}
    return JOB, obj


def pod_of(task: Task, **result: Any) -> Object:
    report = encode_report(StepReport(step=task.name, revision=REVISION, result=result)).decode()
    ended = {"terminated": {"exitCode": 0, "message": report, "finishedAt": ago(30)}}
    containers = [{"name": task.name, "state": ended}]
    return pod(task.name, REVISION, f"pod-{task.name}", owner=f"uid-{task.name}", containerStatuses=containers)


def observe(*children: Any, pods: tuple[Object, ...] = ()) -> Observed:
    return observed_state(model(), *children, pods=pods)


def test_the_first_task_is_the_first_to_run() -> None:
    found = chain_state((FIRST, SECOND), model(), observe())
    assert (found.task, type(found.state)) == (FIRST, NotStarted)


def test_the_second_task_waits_for_the_first() -> None:
    found = chain_state((FIRST, SECOND), model(), observe(job_of(FIRST)))
    assert (found.task, type(found.state)) == (FIRST, Running)


def test_the_second_task_gets_the_result_of_the_first() -> None:
    tasks = (FIRST, SECOND)
    observed = observe(job_of(FIRST, complete=True), pods=(pod_of(FIRST, lines=7),))
    found = chain_state(tasks, model(), observed)
    assert (found.task, type(found.state)) == (SECOND, NotStarted)
    assert found.results == {"first": {"lines": 7}}
    plan = decide(model(), observed, replace(CONFIG, tasks=tasks))
    (started,) = [obj for obj in plan.apply if obj["kind"] == "Job"]
    assert started["results"] == {"first": {"lines": 7}}


def test_a_task_that_has_succeeded_makes_those_before_it_unnecessary() -> None:
    """Their Jobs may have been deleted, as after a restart while a model is served."""
    subject = model(PREPARED)
    found = chain_state((FIRST, PREPARE), subject, observed_state(subject))
    assert (found.task, found.summary) == (None, summary())


def test_the_chain_has_a_model_only_once_every_task_has_succeeded() -> None:
    subject = model(PREPARED)
    found = chain_state((PREPARE, SECOND), subject, observed_state(subject))
    assert (found.task, found.summary) == (SECOND, None)
    assert Succeeded(result=summary()).result == found.results["prepare"]
