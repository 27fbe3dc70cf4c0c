"""What is so: everything about one model that decisions and status are made from, gathered without a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from keras_api.manifest import ModelSummary
from keras_api.resource import KerasModel
from keras_api.revision import revision_of
from keras_operator.cache.cache import Cache
from keras_operator.cache.objects import Child, Pod
from keras_operator.diagnosis.pods import Evidence
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import DEPLOYMENT, JOB, Key, Kind, Ref
from keras_operator.naming.names import prepare_job_name
from keras_operator.state.source_resolution import SourceResolution


@dataclass(frozen=True)
class Observed:
    """A model's surroundings at one moment."""

    now: datetime
    resolution: SourceResolution
    revision: str = ""
    """Revision that the spec and the source ask for; empty until the source has answered."""
    children: Mapping[Ref, Child] = field(default_factory=dict)
    pods: tuple[Pod, ...] = ()
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """What was looked up about objects that hang, by their uid."""
    hidden: Mapping[Kind, ApplyError] = field(default_factory=dict)
    """Kinds of which the operator may not see what there is, and why."""
    has_service_monitors: bool = False
    stored: ModelSummary | None = None
    """What the store's manifest says of the wanted revision, where it was asked and has one."""

    def job(self, model: KerasModel) -> Child | None:
        """The prepare Job of the wanted revision."""
        return self.children.get(Ref(JOB, prepare_job_name(model.metadata.name, self.revision)))

    def jobs(self) -> list[Child]:
        """All prepare Jobs."""
        return [child for ref, child in self.children.items() if ref.kind == JOB]

    def deployment(self, model: KerasModel) -> Child | None:
        """The Deployment, if it is the model's own."""
        child = self.children.get(Ref(DEPLOYMENT, model.metadata.name))
        return child if child is not None and child.controller == model.metadata.uid else None

    def servers(self) -> list[Pod]:
        """Serving pods."""
        return [pod for pod in self.pods if pod.component == "server"]

    def pods_of(self, owner: Child) -> list[Pod]:
        """Pods that a Job made itself."""
        return [pod for pod in self.pods if pod.owner == owner.uid]


def observe(model: KerasModel, world: Cache, resolution: SourceResolution, now: datetime) -> Observed:
    """Gather what is known about a model."""
    key = Key(model.metadata.namespace, model.metadata.name)
    found = resolution.fingerprint
    return Observed(
        now=now,
        resolution=resolution,
        revision=revision_of(model.spec, found.value) if found else "",
        children=world.children(key),
        pods=world.pods(key),
        hidden=world.hidden(key),
        has_service_monitors=world.has_service_monitors,
    )
