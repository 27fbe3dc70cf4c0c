"""Conditions as in metav1.Condition: what is said, and since when."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple

from keras_api.reasons import ConditionType, Reason
from keras_api.resource import Condition, KerasModelStatus
from keras_operator.kube.times import written


class ConditionUpdate(NamedTuple):
    """One aspect of the model's state, without the bookkeeping."""

    type: ConditionType
    status: bool
    reason: Reason
    message: str


def find_condition(status: KerasModelStatus, type_: ConditionType) -> Condition | None:
    """What a status says of one aspect; None when it says nothing yet."""
    return next((each for each in status.conditions if each.type == type_), None)


def conditions(
    before: Iterable[Condition], sayings: Iterable[ConditionUpdate], generation: int, now: datetime
) -> list[Condition]:
    """The conditions to write; a transition time moves only when the status does."""
    known = {condition.type: condition for condition in before}
    result = []
    for saying in sayings:
        status: Literal["True", "False"] = "True" if saying.status else "False"
        old = known.get(saying.type)
        since = old.last_transition_time if old is not None and old.status == status else written(now)
        result.append(
            Condition(
                type=saying.type,
                status=status,
                reason=saying.reason,
                message=saying.message,
                last_transition_time=since,
                observed_generation=generation,
            )
        )
    return result
