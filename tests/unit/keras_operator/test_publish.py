"""Which transitions are told as Events."""

from __future__ import annotations

from typing import Any

import msgspec
from operator_makers import NOW, ago, model

from keras_api.resource import Condition, KerasModelStatus, LastFailure
from keras_operator.publish import transitions


def _status(reason: str, *, ready: Any = "False", failure: LastFailure | None = None) -> KerasModelStatus:
    condition = Condition(type="Ready", status=ready, reason=reason, message="m", last_transition_time=ago(0))
    return KerasModelStatus(conditions=[condition], last_failure=failure)


def _told(before: KerasModelStatus | None, after: KerasModelStatus) -> list[tuple[str, str]]:
    subject = model(msgspec.to_builtins(before) if before else None)
    return [(event["type"], event["reason"]) for event in transitions(subject, after, NOW)]


FAILURE = LastFailure(step="prepare", reason="ModelUnsafe", message="m", time=ago(0))


def test_that_a_model_turns_ready_is_told_once() -> None:
    serving = _status("Serving", ready="True")
    assert _told(_status("RollingOut"), serving) == [("Normal", "Serving")]
    assert _told(serving, serving) == []


def test_that_a_model_is_ready_no_longer_is_told_with_the_reason() -> None:
    assert _told(_status("Serving", ready="True"), _status("Preparing")) == [("Normal", "Preparing")]


def test_steps_on_the_way_are_not_told() -> None:
    assert _told(None, _status("Preparing")) == []
    assert _told(_status("Preparing"), _status("RollingOut")) == []


def test_a_failure_is_told_once_and_as_a_warning() -> None:
    failed = _status("ModelUnsafe", failure=FAILURE)
    assert _told(_status("Preparing"), failed) == [("Warning", "ModelUnsafe")]
    assert _told(failed, failed) == []


def test_a_failure_that_leaves_the_model_ready_is_told() -> None:
    before = _status("Serving", ready="True")
    assert _told(before, _status("Serving", ready="True", failure=FAILURE)) == [("Warning", "ModelUnsafe")]
