"""When a model is reconciled again without an event."""

from __future__ import annotations

import pytest
from operator_makers import CONFIG, FOUND, ago, job, model, observed_state

from keras_api.resource import Condition, KerasModelStatus
from keras_operator.decide.plan import Plan, decide
from keras_operator.decide.requeue import ERROR_SECONDS, PROGRESS_SECONDS, requeue_after
from keras_operator.kube.kinds import JOB
from keras_operator.state.source_resolution import SourceResolution
from keras_operator.tasks.state import FIRST_PAUSE_SECONDS, REPORT_GRACE_SECONDS

REVISION = observed_state(model()).revision


def reconciling(status: str) -> KerasModelStatus:
    condition = Condition(type="Reconciling", status=status, reason="r", message="m", last_transition_time=ago(1))
    return KerasModelStatus(conditions=[condition])


def after(
    *jobs: object,
    resolution: SourceResolution = FOUND,
    status: str = "True",
    errors: bool = False,
    due: float | None = None,
) -> float | None:
    observed = observed_state(model(), *((JOB, each) for each in jobs), resolution=resolution)
    plan: Plan = decide(model(), observed, CONFIG)
    return requeue_after(plan, observed, reconciling(status), has_errors=errors, evidence_due=due)


def test_an_idle_model_waits_for_an_event() -> None:
    assert after(job(REVISION), status="False") is None


def test_a_model_that_makes_progress_is_reconciled_regularly() -> None:
    assert after(job(REVISION)) == PROGRESS_SECONDS


@pytest.mark.parametrize(("due", "seconds"), [(3, 3), (99, PROGRESS_SECONDS), (-1, 0.1)])
def test_evidence_is_looked_up_when_it_is_due(due: float, seconds: float) -> None:
    assert after(job(REVISION), due=due) == seconds


def test_a_child_that_could_not_be_applied_is_retried() -> None:
    assert after(job(REVISION), errors=True) == ERROR_SECONDS


def test_a_failed_job_is_retried_after_its_pause() -> None:
    failed = job(REVISION, ended="Failed", reason="BackoffLimitExceeded", ended_ago=7)
    assert after(failed) == FIRST_PAUSE_SECONDS - 7


def test_the_reconcile_waits_for_a_late_report() -> None:
    assert after(job(REVISION, ended="Complete", ended_ago=1)) == REPORT_GRACE_SECONDS - 1


def test_the_source_poller_enqueues_a_model_whose_source_has_not_answered() -> None:
    assert after(resolution=SourceResolution()) is None
