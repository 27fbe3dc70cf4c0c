"""A task: what differs between Jobs. The state machine that they share is in `keras_operator.tasks.state`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from keras_api.reasons import Reason
from keras_api.resource import KerasModel
from keras_api.step_report import StepReport
from keras_operator.kube.kinds import Object
from keras_operator.naming.names import job_name
from keras_operator.naming.sizing import USUAL, Memory
from keras_operator.settings import Settings
from keras_operator.state.observed import Observed


class Loss(NamedTuple):
    """A serving pod reports that the output of a task is missing, incomplete or altered in the store."""

    at: datetime
    message: str


@dataclass(frozen=True)
class TaskInputs:
    """The inputs of a task's Job."""

    model: KerasModel
    observed: Observed
    settings: Settings
    results: Mapping[str, Any] = field(default_factory=dict)
    """Results of the tasks before this one in the chain, by the name of the task."""
    attempt: int = 1
    """Number of the attempt, from 1. The operator retries, not the Job."""
    memory: Memory = USUAL
    """What earlier attempts have shown about the memory that the Job needs."""


class Task(ABC):
    """One task of the chain."""

    name: str
    """Component label of the Job and its pods, part of the Job's name, and step of the task's failures."""
    condition: str
    """Type of the condition that reports the task."""
    running: Reason
    """Reason of that condition while the task runs."""
    succeeded: Reason
    """Reason of that condition once the task has succeeded."""
    deadline_remedy: str
    """Remedy for a Job that takes longer than its deadline."""
    failed: Reason
    """Reason of a failure that has no more specific reason."""
    memory_remedy: str
    """Remedy for a Job that was killed at its memory limit with twice the usual memory."""

    @abstractmethod
    def job(self, inputs: TaskInputs) -> Object:
        """The Job.

        Raises:
            SpecError: when the spec cannot be rendered.
        """

    @abstractmethod
    def result(self, report: StepReport) -> Any:
        """The task's result in the report of one of its steps; None when the step reports none."""

    @abstractmethod
    def success_message(self, revision: str) -> str:
        """Message of the task's condition once it has succeeded."""

    def activity(self, model: KerasModel, container: str) -> str:
        """The activity of a container of the Job; it follows "container X of pod Y was still" in a message."""
        return "running"

    def known_result(self, model: KerasModel, observed: Observed) -> Any:
        """The result in status; None when status does not have it."""
        return None

    def stored_result(self, observed: Observed) -> Any:
        """The result in the store; None when the store was not queried or does not have it."""
        return None

    def loss(self, observed: Observed) -> Loss | None:
        """The latest report that the output is missing, incomplete or altered in the store."""
        return None

    def usual_memory(self, container: str, reports: Iterable[StepReport]) -> tuple[int, str] | None:
        """MiB that a container usually needs by the Job's reports, and an explanation; None without such a report."""
        return None

    def job_name(self, model: KerasModel, observed: Observed) -> str:
        """Name of the Job for the desired revision."""
        return job_name(model.metadata.name, self.name, observed.revision)
