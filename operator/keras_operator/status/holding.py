"""When a status is held back for a moment, since what comes next says more: each is a write for every model."""

from __future__ import annotations

from datetime import datetime

from keras_api.reasons import ConditionType, Reason
from keras_api.resource import KerasModel, KerasModelStatus
from keras_operator.observe import Observed
from keras_operator.status.conditions import said
from keras_operator.status.rollout import wanted_replicas
from keras_operator.times import read

# Before a first status is written the source gets this long to answer: nearly all do, among a thousand new models too.
FIRST_WORD_SECONDS = 5.0
# A new Deployment has pods to be counted within milliseconds, unless its controller is at a loss. The API server tells
# whole seconds of its age.
FIRST_PODS_SECONDS = 2.0


def seconds_to_hold(model: KerasModel, seen: Observed, status: KerasModelStatus) -> float | None:
    """How long a status can wait for better news; None when it is to be written now.

    Args:
        model: the resource, with the status that is written there.
        seen: what was observed.
        status: what would be written.
    """
    asked = seen.resolution.asked
    if not model.status.conditions and asked is not None:
        return _rest(FIRST_WORD_SECONDS, asked, seen.now)
    deployment = seen.deployment(model)
    if deployment is None or deployment.status.get("replicas") or not wanted_replicas(deployment):
        return None
    # Whoever was told that all is well, or would now be told of a trouble, is told at once.
    before, after = said(model.status, ConditionType.READY), said(status, ConditionType.READY)
    if (before is not None and before.status == "True") or after is None or after.reason != Reason.ROLLING_OUT:
        return None
    return _rest(FIRST_PODS_SECONDS, read(deployment.created), seen.now)


def _rest(whole: float, begin: datetime, now: datetime) -> float | None:
    """What is left of some seconds; nothing where they begin in a time to come, which another clock wrote."""
    age = (now - begin).total_seconds()
    return whole - age if 0 <= age < whole else None
