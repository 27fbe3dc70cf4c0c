"""The chain of tasks: how far the desired revision has got, and which task is the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_api.manifest import ModelSummary
from keras_api.resource import KerasModel
from keras_operator.state.observed import Observed
from keras_operator.tasks.base import Task
from keras_operator.tasks.state import Succeeded, TaskState, task_state


@dataclass(frozen=True)
class ChainState:
    """State of the chain for the desired revision."""

    task: Task | None = None
    """The task that has not succeeded yet; None when all have, or when the revision is not known yet."""
    state: TaskState | None = None
    """That task's state."""
    results: Mapping[str, Any] = field(default_factory=dict)
    """Results of the tasks that have succeeded, by name; a task before the last of these may be missing."""
    resolved: bool = True
    """Whether the revision is known: the source has answered."""

    @property
    def summary(self) -> ModelSummary | None:
        """The model, once every task has succeeded."""
        if not self.resolved or self.task is not None:
            return None
        return next((result for result in self.results.values() if isinstance(result, ModelSummary)), None)


def chain_state(tasks: Sequence[Task], model: KerasModel, observed: Observed) -> ChainState:
    """Find the first task whose successors have not succeeded either.

    A task that has succeeded makes those before it unnecessary: their Jobs and even their outputs may be deleted.
    """
    if not observed.revision:
        return ChainState(resolved=False)
    current: tuple[Task, TaskState] | None = None
    results: dict[str, Any] = {}
    for task in reversed(tasks):
        state = task_state(task, model, observed)
        if isinstance(state, Succeeded):
            results[task.name] = state.result
        elif not results:
            current = task, state
    return ChainState(*current, results) if current is not None else ChainState(results=results)
