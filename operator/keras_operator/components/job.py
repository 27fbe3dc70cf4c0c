"""The Jobs of the chain of tasks (`keras_operator.tasks`): creates the present task's Job, deletes obsolete ones."""

from __future__ import annotations

from collections.abc import Iterator

from keras_api.reasons import Reason
from keras_operator.components.base import Component, Context
from keras_operator.diagnosis.rollout import is_rolled_out
from keras_operator.kube.kinds import JOB, ChildKind, Object, Ref
from keras_operator.state.conditions import ConditionUpdate
from keras_operator.state.failure import Failure
from keras_operator.tasks.base import Task, TaskInputs
from keras_operator.tasks.chain import ChainState
from keras_operator.tasks.state import NotStarted


class JobComponent(Component):
    """The Jobs of all tasks."""

    child = ChildKind(JOB, status_fields=("conditions", "startTime", "active"), deletable=True)

    def step(self, context: Context) -> str:
        """The task whose Job is the next one."""
        current = context.chain.task if context.chain is not None else None
        return (current or context.tasks[-1]).name

    def desired(self, context: Context) -> Iterator[Object]:
        """The present task's Job, if it must be created, in place of a finished one of the same name.

        Raises:
            SpecError: when the spec cannot be rendered.
        """
        chain = context.chain
        if chain is not None and chain.task is not None and isinstance(chain.state, NotStarted):
            state = chain.state
            yield chain.task.job(
                TaskInputs(
                    context.model, context.observed, context.settings, chain.results, state.attempt, state.memory
                )
            )

    def obsolete(self, context: Context) -> Iterator[Ref]:
        """Jobs of other revisions; those of the desired revision are kept for their logs."""
        observed = context.observed
        if not observed.revision:
            return
        served = is_rolled_out(context.model, observed, observed.revision)
        for ref in self.owned(context):
            job = observed.children[ref]
            # A failed Job is kept until the desired revision is served; one that still runs is of no use.
            if job.revision != observed.revision and (served or job.status.get("active")):
                yield ref

    def failures(self, context: Context) -> Iterator[Failure]:
        """The failure of the present task."""
        failure = _failure(context.chain)
        if failure is not None:
            yield failure

    def conditions(self, context: Context) -> Iterator[ConditionUpdate]:
        """The condition of each task."""
        if context.chain is not None:
            for task in context.tasks:
                yield ConditionUpdate(task.condition, *_progress(context, context.chain, task))


def _failure(chain: ChainState | None) -> Failure | None:
    if chain is None or chain.state is None or isinstance(chain.state, NotStarted):
        return None  # the next attempt starts now
    return chain.state.failure


def _progress(context: Context, chain: ChainState, task: Task) -> tuple[bool, Reason, str]:
    observed = context.observed
    if not chain.resolved:
        failure = observed.resolution.failure
        return (False, failure.reason, failure.message) if failure else (False, Reason.RESOLVING, "polling the source")
    names = [each.name for each in context.tasks]
    present = len(names) if chain.task is None else names.index(chain.task.name)
    if names.index(task.name) < present:
        return True, task.succeeded, task.success_message(observed.revision)
    if names.index(task.name) > present and chain.task is not None:
        return False, task.running, f"waiting for the task {chain.task.name}"
    if (failure := _failure(chain)) is not None:
        return False, failure.reason, failure.message
    return False, task.running, f"Job {task.job_name(context.model, observed)} is running"
