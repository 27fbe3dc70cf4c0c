"""Status debounce: delays a status that a more complete one follows within seconds; each status is a write."""

from __future__ import annotations

from datetime import datetime

from keras_api.reasons import ConditionType, Reason
from keras_api.resource import KerasModel, KerasModelStatus
from keras_operator.diagnosis.rollout import desired_replicas
from keras_operator.kube.times import read
from keras_operator.state.conditions import find_condition, is_true
from keras_operator.state.observed import Observed

# Time for the source's first answer before the first status; nearly all answer by then, even for a thousand models.
FIRST_ANSWER_SECONDS = 5.0
# A new Deployment has its pods within milliseconds, unless its controller fails. The API server reports its age in
# whole seconds.
FIRST_PODS_SECONDS = 2.0


def debounce_seconds(model: KerasModel, observed: Observed, status: KerasModelStatus) -> float | None:
    """Seconds that a status can wait; None when it must be written now.

    Args:
        model: the resource, with its present status.
        observed: the observed state.
        status: the status to write.
    """
    asked = observed.resolution.asked
    if not model.status.conditions and asked is not None:
        return _remaining(FIRST_ANSWER_SECONDS, asked, observed.now)
    deployment = observed.deployment(model)
    if deployment is None or deployment.status.get("replicas") or not desired_replicas(deployment):
        return None
    # A model that was Ready, and every failure, is reported at once.
    before, after = find_condition(model.status, ConditionType.READY), find_condition(status, ConditionType.READY)
    if is_true(before) or after is None or after.reason != Reason.ROLLING_OUT:
        return None
    return _remaining(FIRST_PODS_SECONDS, read(deployment.created), observed.now)


def _remaining(whole: float, begin: datetime, now: datetime) -> float | None:
    """The rest of some seconds; None when they begin in the future, by another machine's clock."""
    age = (now - begin).total_seconds()
    return whole - age if 0 <= age < whole else None
