"""The Kubernetes kinds that the operator touches, and where the API serves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from keras_api import resource

# A Kubernetes object as the API server sends it.
Object = dict[str, Any]


class Key(NamedTuple):
    """Names a KerasModel: the unit of work."""

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
        """What objects of this kind carry as ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def discovery_path(self) -> str:
        """Where the API server says which kinds the group and version have."""
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
    """Names an object within a model's namespace."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


KERAS_MODEL = Kind(resource.GROUP, resource.VERSION, resource.KIND, resource.PLURAL)
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
JOB = Kind("batch", "v1", "Job", "jobs")
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
SERVICE = Kind("", "v1", "Service", "services")
SERVICE_MONITOR = Kind("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets")
POD = Kind("", "v1", "Pod", "pods")
SECRET = Kind("", "v1", "Secret", "secrets")
EVENT = Kind("", "v1", "Event", "events")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")

# In the order in which they are applied: pods cannot be made before their ServiceAccount is there.
CHILDREN = (SERVICE_ACCOUNT, SERVICE, JOB, DEPLOYMENT, SERVICE_MONITOR)
