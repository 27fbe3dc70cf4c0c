"""Transitions of the status that cause Events."""

from __future__ import annotations

from typing import Any

import msgspec
from operator_makers import NOW, ago, model

from keras_api.resource import Condition, KerasModelStatus, LastFailure
from keras_operator.publish import transitions


def _status(reason: str, *, ready: Any = "False", failure: LastFailure | None = None) -> KerasModelStatus:
    condition = Condition(type="Ready", status=ready, reason=reason, message="m", last_transition_time=ago(0))
    return KerasModelStatus(conditions=[condition], last_failure=failure)


def _events(before: KerasModelStatus | None, after: KerasModelStatus) -> list[tuple[str, str]]:
    subject = model(msgspec.to_builtins(before) if before else None)
    return [(event["type"], event["reason"]) for event in transitions(subject, after, NOW)]


FAILURE = LastFailure(step="prepare", reason="ModelUnsafe", message="m", time=ago(0))


def test_becoming_ready_is_one_event() -> None:
    serving = _status("Serving", ready="True")
    assert _events(_status("RollingOut"), serving) == [("Normal", "Serving")]
    assert _events(serving, serving) == []


def test_an_event_has_the_reason_why_a_model_is_no_longer_ready() -> None:
    assert _events(_status("Serving", ready="True"), _status("Preparing")) == [("Normal", "Preparing")]


def test_intermediate_steps_cause_no_event() -> None:
    assert _events(None, _status("Preparing")) == []
    assert _events(_status("Preparing"), _status("RollingOut")) == []


def test_a_failure_is_one_warning_event() -> None:
    failed = _status("ModelUnsafe", failure=FAILURE)
    assert _events(_status("Preparing"), failed) == [("Warning", "ModelUnsafe")]
    assert _events(failed, failed) == []


def test_a_failure_of_a_ready_model_is_an_event() -> None:
    before = _status("Serving", ready="True")
    assert _events(before, _status("Serving", ready="True", failure=FAILURE)) == [("Warning", "ModelUnsafe")]
