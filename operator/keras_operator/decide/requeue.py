"""When to reconcile a model again without an event, once its status is written.

Two cases never come here: a status that is held back (`decide.debounce` says for how long), and an exception, which has
a backoff of its own in the work queue.
"""

from __future__ import annotations

from keras_api.reasons import ConditionType
from keras_api.resource import KerasModelStatus
from keras_operator.decide.plan import Plan
from keras_operator.kube.times import seconds_until
from keras_operator.state.conditions import find_condition, is_true
from keras_operator.state.observed import Observed
from keras_operator.tasks.state import Retrying, Running

# The end of an error with a child (a name conflict, a missing permission) causes no event that the operator receives.
ERROR_SECONDS = 30.0
# Some failures are visible only after a timeout: a pod that does not start, a server that does not become ready.
PROGRESS_SECONDS = 10.0
SHORTEST_SECONDS = 0.1


def requeue_after(
    plan: Plan, observed: Observed, status: KerasModelStatus, *, has_errors: bool, evidence_due: float | None
) -> float | None:
    """Seconds until the next reconcile; None when only an event can change something.

    Args:
        plan: the plan.
        observed: the observed state.
        status: the status that was written.
        has_errors: whether a child could not be applied.
        evidence_due: seconds until there is evidence to look up; None when there is none.
    """
    if has_errors:
        return ERROR_SECONDS
    state = plan.chain.state
    if isinstance(state, Retrying):
        return seconds_until(state.retry_at, observed.now)
    if isinstance(state, Running) and state.check_at is not None:
        return seconds_until(state.check_at, observed.now)
    # The source poller enqueues the model when the source answers.
    if not plan.chain.resolved or not is_true(find_condition(status, ConditionType.RECONCILING)):
        return None
    return PROGRESS_SECONDS if evidence_due is None else min(PROGRESS_SECONDS, max(evidence_due, SHORTEST_SECONDS))
