"""The Kubernetes kinds that the operator uses, and the paths at which the API server serves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from keras_api import resource

# A Kubernetes object as the API server sends it.
Object = dict[str, Any]


class Key(NamedTuple):
    """Namespace and name of a KerasModel: the key of the work queue."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Kind:
    """A namespaced kind."""

    group: str
    version: str
    name: str
    plural: str

    @property
    def api_version(self) -> str:
        """Value of ``apiVersion`` in objects of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def discovery_path(self) -> str:
        """URL path of the discovery document that lists the kinds of the group and version."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of one object, or of a collection (in all namespaces with None)."""
        parts = [self.discovery_path]
        parts += [f"namespaces/{quote(namespace)}"] if namespace else []
        parts += [self.plural]
        parts += [quote(part) for part in (name, subresource) if part]
        return "/".join(parts)

    def __str__(self) -> str:
        return self.name


class Ref(NamedTuple):
    """Kind and name of an object in a model's namespace."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


# A kind in a namespace, or in all namespaces with None: the subject of one list and watch.
WatchScope = tuple[Kind, str | None]


@dataclass(frozen=True)
class ChildKind:
    """A kind of object that the operator creates for a model: how it is watched, and what the cache keeps of it."""

    kind: Kind
    status_fields: tuple[str, ...] = ()
    """Fields of the status that the cache keeps."""
    has_pod_template: bool = False
    """Whether an object's revision and serving hash are those of its pod template, and not its own."""
    optional: bool = False
    """Whether the kind's CustomResourceDefinition may be absent, and may come and go while the operator runs."""
    deletable: bool = False
    """Whether the operator deletes such objects while their model stays."""


KERAS_MODEL = Kind(resource.GROUP, resource.VERSION, resource.KIND, resource.PLURAL)
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
JOB = Kind("batch", "v1", "Job", "jobs")
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
SERVICE = Kind("", "v1", "Service", "services")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets")
POD = Kind("", "v1", "Pod", "pods")
SECRET = Kind("", "v1", "Secret", "secrets")
EVENT = Kind("", "v1", "Event", "events")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
