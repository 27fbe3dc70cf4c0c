"""When a status is held back for a moment, since what comes next says more: each is a write for every model."""

from __future__ import annotations

from datetime import datetime

from keras_api.reasons import ConditionType, Reason
from keras_api.resource import KerasModel, KerasModelStatus
from keras_operator.diagnosis.rollout import desired_replicas
from keras_operator.kube.times import read
from keras_operator.state.conditions import find_condition
from keras_operator.state.observed import Observed

# Before a first status is written the source gets this long to answer: nearly all do, among a thousand new models too.
FIRST_WORD_SECONDS = 5.0
# A new Deployment has pods to be counted within milliseconds, unless its controller is at a loss. The API server tells
# whole seconds of its age.
FIRST_PODS_SECONDS = 2.0


def debounce_seconds(model: KerasModel, observed: Observed, status: KerasModelStatus) -> float | None:
    """How long a status can wait for better news; None when it is to be written now.

    Args:
        model: the resource, with the status that is written there.
        observed: what was observed.
        status: what would be written.
    """
    asked = observed.resolution.asked
    if not model.status.conditions and asked is not None:
        return _rest(FIRST_WORD_SECONDS, asked, observed.now)
    deployment = observed.deployment(model)
    if deployment is None or deployment.status.get("replicas") or not desired_replicas(deployment):
        return None
    # Whoever was told that all is well, or would now be told of a trouble, is told at once.
    before, after = find_condition(model.status, ConditionType.READY), find_condition(status, ConditionType.READY)
    if (before is not None and before.status == "True") or after is None or after.reason != Reason.ROLLING_OUT:
        return None
    return _rest(FIRST_PODS_SECONDS, read(deployment.created), observed.now)


def _rest(whole: float, begin: datetime, now: datetime) -> float | None:
    """What is left of some seconds; nothing where they begin in a time to come, which another clock wrote."""
    age = (now - begin).total_seconds()
    return whole - age if 0 <= age < whole else None
