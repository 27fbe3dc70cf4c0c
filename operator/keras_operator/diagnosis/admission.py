"""Pods that are not admitted: which rejection of a Deployment's pods is the present one.

The message of the Deployment's condition ReplicaFailure may be outdated: when a rollout begins it is about the previous
template, and while it is True it keeps its first message, whatever is rejected later. The same holds for a ReplicaSet.
The present reason is in the latest Event about the ReplicaSet of the present template.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from keras_operator.cache.objects import Child, controller_of
from keras_operator.diagnosis.rollout import condition, is_current
from keras_operator.kube.evidence import FAILED_CREATE, Evidence
from keras_operator.kube.kinds import Object
from keras_operator.kube.times import read
from keras_operator.naming.labels import REVISION, SERVING

_FAILURE = "ReplicaFailure"
# Number of a template, as the Deployment's controller counts them.
_COUNT = "deployment.kubernetes.io/revision"


class Template(NamedTuple):
    """The present pod template of a Deployment, at one resourceVersion."""

    deployment: str
    """uid."""
    version: int
    revision: str
    serving: str


def admission_failed_at(deployment: Child) -> datetime | None:
    """Since when a Deployment reports that its pods are not admitted; None while it does not."""
    failure = condition(deployment.status, _FAILURE)
    if deployment.deleting or failure.get("status") != "True" or not is_current(deployment):
        return None
    return read(failure["lastTransitionTime"])


def present_template(deployment: Child) -> Template:
    """The template that a Deployment's present ReplicaSet has."""
    return Template(deployment.uid, deployment.version, deployment.revision, deployment.serving)


def rejected_replica_set(template: Template, replica_sets: Iterable[Object]) -> Object | None:
    """The ReplicaSet of a template; None when it does not exist yet, or none of its pods was rejected."""
    own = [each for each in replica_sets if controller_of(each) == template.deployment]
    newest = max(own, key=lambda each: int(each["metadata"].get("annotations", {}).get(_COUNT, 0)), default=None)
    if newest is None or not _message(newest):
        return None
    metadata = newest["spec"]["template"]["metadata"]
    found = metadata.get("labels", {}).get(REVISION), metadata.get("annotations", {}).get(SERVING)
    return newest if found == (template.revision, template.serving) else None


def latest_rejection(replica_set: Object, events: Sequence[Evidence]) -> Evidence:
    """Why a rejected ReplicaSet gets no pod at present; `events` are about it, the latest last."""
    found = (each for each in reversed(events) if each.reason == FAILED_CREATE)
    # The Event comes a moment after the condition, and expires after an hour.
    return next(found, Evidence(FAILED_CREATE, _message(replica_set)))


def _message(replica_set: Object) -> str:
    """The message of a ReplicaSet's condition; empty when no pod was rejected."""
    failure = condition(replica_set.get("status", {}), _FAILURE)
    return str(failure.get("message") or failure.get("reason", "")) if failure.get("status") == "True" else ""
