"""Conditions as in metav1.Condition: an aspect of the state, and the time of its last transition."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple

from keras_api.reasons import Reason
from keras_api.resource import Condition, KerasModelStatus
from keras_operator.kube.times import written


class ConditionUpdate(NamedTuple):
    """A condition to write, without its times."""

    type: str
    status: bool
    reason: Reason
    message: str


def find_condition(status: KerasModelStatus, type_: str) -> Condition | None:
    """The condition of a type; None when the status has none."""
    return next((each for each in status.conditions if each.type == type_), None)


def is_true(condition: Condition | None) -> bool:
    """Whether a condition is set and its status is True."""
    return condition is not None and condition.status == "True"


def updated_conditions(
    before: Iterable[Condition], updates: Iterable[ConditionUpdate], generation: int, now: datetime
) -> list[Condition]:
    """The conditions to write; a transition time changes only with the status."""
    known = {condition.type: condition for condition in before}
    result = []
    for update in updates:
        status: Literal["True", "False"] = "True" if update.status else "False"
        old = known.get(update.type)
        since = old.last_transition_time if old is not None and old.status == status else written(now)
        result.append(
            Condition(
                type=update.type,
                status=status,
                reason=update.reason,
                message=update.message,
                last_transition_time=since,
                observed_generation=generation,
            )
        )
    return result
