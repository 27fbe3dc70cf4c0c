"""Progress of a rollout, determined by the pods and not by the Deployment's template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_api.resource import KerasModel
from keras_operator.cache.objects import Child
from keras_operator.kube.kinds import Object
from keras_operator.naming.names import serving_hash
from keras_operator.state.observed import Observed


def ready_revisions(observed: Observed) -> list[str]:
    """Revision of every pod that answers requests."""
    return sorted(pod.revision for pod in observed.servers() if pod.ready)


def serving_revision(observed: Observed, before: str) -> str:
    """Revision that the ready pods serve; while they serve two, the one that was served before."""
    revisions = ready_revisions(observed)
    return before if before in revisions else next(iter(revisions), "")


def is_rolled_out(model: KerasModel, observed: Observed, revision: str) -> bool:
    """Whether all replicas, and no other pods, serve a revision as the present Deployment specifies."""
    deployment = observed.deployment(model)
    if deployment is None or deployment.deleting or deployment.revision != revision or not is_current(deployment):
        return False
    desired = desired_replicas(deployment)
    # The Deployment of a suspended model does not follow its spec.
    if model.spec.serving.replicas not in (None, desired) or deployment.serving != serving_hash(model):
        return False
    # The Deployment counts the pods of its present template; the pods themselves report whether they are ready.
    counts = [deployment.status.get(name, 0) for name in ("replicas", "updatedReplicas")]
    return counts == [desired, desired] and ready_revisions(observed) == [revision] * desired


def desired_replicas(deployment: Child) -> int:
    """Number of pods that the Deployment specifies."""
    return 1 if deployment.replicas is None else deployment.replicas


def is_current(deployment: Child) -> bool:
    """Whether the Deployment's status is about its present spec."""
    return bool(deployment.status.get("observedGeneration", 0) >= deployment.generation)


def condition(status: Mapping[str, Any], type_: str) -> Object:
    """A condition in the status of a Deployment or ReplicaSet; empty when it is not set."""
    for each in status.get("conditions", []):
        if each["type"] == type_:
            found: Object = each
            return found
    return {}
