"""The observed state of one model: the input of decisions and status, gathered without a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from keras_api.manifest import ModelSummary
from keras_api.resource import KerasModel
from keras_api.revision import revision_of
from keras_operator.cache.cache import Cache
from keras_operator.cache.objects import Child, Pod
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.evidence import Evidence
from keras_operator.kube.kinds import DEPLOYMENT, JOB, Key, Kind, Ref
from keras_operator.naming.labels import SERVER
from keras_operator.state.source_resolution import SourceResolution


@dataclass(frozen=True)
class Observed:
    """A model's environment at one moment."""

    now: datetime
    resolution: SourceResolution
    revision: str = ""
    """The desired revision; empty until the source has answered."""
    children: Mapping[Ref, Child] = field(default_factory=dict)
    pods: tuple[Pod, ...] = ()
    removed_pods: tuple[Pod, ...] = ()
    """The last pod of each Job whose pod no longer exists."""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """Events and log lines about objects that make no progress, by the object's uid."""
    forbidden: Mapping[Kind, ApplyError] = field(default_factory=dict)
    """Kinds that the operator has no permission to list or watch, with the error."""
    served_kinds: frozenset[Kind] = frozenset()
    """The optional kinds that the cluster serves."""
    stored: ModelSummary | None = None
    """The model in the store's manifest of the desired revision; None when the store was not queried or has none."""

    def job(self, name: str) -> Child | None:
        """A Job by its name."""
        return self.children.get(Ref(JOB, name))

    def deployment(self, model: KerasModel) -> Child | None:
        """The Deployment, if the model owns it."""
        return self.own(model, Ref(DEPLOYMENT, model.metadata.name))

    def own(self, model: KerasModel, ref: Ref) -> Child | None:
        """A child, if the model owns it."""
        child = self.children.get(ref)
        return child if child is not None and child.controller == model.metadata.uid else None

    def servers(self) -> list[Pod]:
        """Serving pods."""
        return [pod for pod in self.pods if pod.component == SERVER]

    def pods_of(self, owner: Child) -> list[Pod]:
        """Pods that a Job created itself."""
        return [pod for pod in self.pods if pod.owner == owner.uid]

    def removed_pods_of(self, owner: Child) -> list[Pod]:
        """The last pod that a Job created, once that pod no longer exists."""
        return [pod for pod in self.removed_pods if pod.owner == owner.uid]


def observe(model: KerasModel, cache: Cache, resolution: SourceResolution, now: datetime) -> Observed:
    """Gather what the cache knows about a model."""
    key = Key(model.metadata.namespace, model.metadata.name)
    found = resolution.fingerprint
    return Observed(
        now=now,
        resolution=resolution,
        revision=revision_of(model.spec, found.value) if found else "",
        children=cache.children(key),
        pods=cache.pods(key),
        removed_pods=cache.removed_pods(key),
        forbidden=cache.forbidden(key),
        served_kinds=cache.served_kinds(),
    )
