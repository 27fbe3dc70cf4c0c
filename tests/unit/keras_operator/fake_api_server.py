"""An API server in memory, under the real `KubeClient`: it answers requests from a `fake_cluster.Cluster`.

Server-side apply, preconditions, rights, invalid objects and kinds that are not served behave as in Kubernetes, as far
as the operator relies on them. A `Fault` concerns one write, a `Refusal` all writes of a kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import SimpleNamespace
from typing import Any, Never, cast

import aiohttp
import msgspec
from fake_cluster import KINDS, Cluster, is_managed, owned_fields
from kubernetes.aio.client import ApiClient
from operator_makers import KEY

from keras_operator.cache.objects import controller_of
from keras_operator.kube.client import KubeClient
from keras_operator.kube.identity import MANAGER
from keras_operator.kube.kinds import (
    DEPLOYMENT,
    EVENT,
    JOB,
    KERAS_MODEL,
    REPLICA_SET,
    SERVICE,
    Kind,
    Object,
    Ref,
)
from keras_operator.kube.metrics import Metrics
from keras_operator.kube.times import written

METRICS = Metrics()
USER = "system:serviceaccount:keras-system:keras-operator"
_PATHS = {kind.path(namespace): kind for kind in (*KINDS, EVENT, REPLICA_SET) for namespace in (None, KEY.namespace)}
_DISCOVERY = {kind.discovery_path for kind in KINDS}


class FaultKind(Enum):
    """A fault at a write, or a change by another client at the same moment."""

    KILLED_BEFORE = auto()
    """The operator is killed before the write."""
    KILLED_AFTER = auto()
    """The operator is killed after the write, before it gets the answer."""
    NO_ANSWER = auto()
    """The connection breaks before the write."""
    LOST_ANSWER = auto()
    """The write takes effect, and the connection breaks before the answer."""
    OVERLOADED = auto()
    """The API server rejects the write with status 429."""
    CONFLICT = auto()
    """Another client changes the object at the same moment: the API server rejects the write with status 409."""
    SPEC_CHANGED = auto()
    """Another client changes the spec of the model just before the write, which succeeds."""


@dataclass
class Fault:
    """A fault at one write."""

    kind: FaultKind
    after: int
    """Number of writes before it that succeed."""


class Refusal(Enum):
    """Why the API server rejects every write of a kind."""

    FORBIDDEN = auto()
    INVALID = auto()
    OCCUPIED = auto()
    """Another client always creates an object of the name first."""


class RejectedError(Exception):
    """A status other than 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class FakeApiServer:
    """Answers requests."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.refusals: dict[Kind, Refusal] = {}
        self.fault: Fault | None = None
        self.killed = False
        """Whether the operator was killed in the middle of a request."""
        self.writes: list[str] = []
        """Writes that were accepted, even if they changed nothing."""
        self.reads: list[str] = []
        """All reads but those of discovery and listings."""
        self.violations: list[str] = []
        """Writes to objects that are not the model's own."""
        self.on_write: Callable[[], object] | None = None
        """Called after each write, before its answer: the watches may report it first."""

    def client(self) -> KubeClient:
        return KubeClient(cast(ApiClient, _Connection(self)), METRICS, aiohttp.ClientTimeout(total=30))

    async def answer(self, method: str, path: str, query: Mapping[str, str], content_type: str, body: Any) -> Object:
        await asyncio.sleep(0)  # other tasks get their turn, as while a real request is under way
        if method == "GET":
            return self._read(path, query)
        kind, name, subresource = _parts(path)
        fault = self._due_fault(method)
        if fault is FaultKind.KILLED_BEFORE:
            await self._kill()
        if fault is FaultKind.NO_ANSWER:
            raise aiohttp.ClientConnectionError("connection refused")
        if fault is FaultKind.SPEC_CHANGED:
            self.cluster.edit(serving__replicas=3 - (self.cluster.spec("serving").get("replicas") or 1))
        answer = self._write(method, kind, name, subresource, content_type, body, fault)
        if self.on_write is not None:
            self.on_write()
            await asyncio.sleep(0)
        if fault is FaultKind.KILLED_AFTER:
            await self._kill()
        if fault is FaultKind.LOST_ANSWER:
            raise aiohttp.ServerDisconnectedError
        return answer

    def _due_fault(self, method: str) -> FaultKind | None:
        fault = self.fault
        if fault is None:
            return None
        if fault.after > 0 or (fault.kind is FaultKind.CONFLICT and method != "PATCH"):
            fault.after -= 1
            return None
        self.fault = None
        return fault.kind

    async def _kill(self) -> Never:
        self.killed = True
        while True:
            await asyncio.Event().wait()

    # Reads

    def _read(self, path: str, query: Mapping[str, str]) -> Object:
        if path in _DISCOVERY:
            kinds = [kind for kind in KINDS if kind.discovery_path == path and self.cluster.serves(kind)]
            if not kinds:
                raise RejectedError(404, "the server could not find the requested resource")
            return {"resources": [{"name": kind.plural} for kind in kinds]}
        kind, name, _ = _parts(path)
        self._check_served(kind)
        if not name:
            return self._list(kind, query)
        self.reads.append(path)
        return self._live(Ref(kind, name))

    def _list(self, kind: Kind, query: Mapping[str, str]) -> Object:
        if kind == EVENT:
            uid = query["fieldSelector"].partition("=")[2].partition(",")[0]
            self.reads.append(f"warnings of {uid}")
            items = self.cluster.warnings.get(uid, [])
        elif kind == REPLICA_SET:
            items = []
        else:
            items = [obj for obj in self.cluster.all(kind) if kind == KERAS_MODEL or is_managed(obj)]
        return {"metadata": {"resourceVersion": str(len(self.cluster.history))}, "items": items}

    # Writes

    def _write(
        self, method: str, kind: Kind, name: str, subresource: str, content_type: str, body: Any, fault: Any
    ) -> Object:
        ref = Ref(kind, name)
        self._check_served(kind)
        if fault is FaultKind.OVERLOADED:
            raise RejectedError(429, "too many requests")
        if fault is FaultKind.CONFLICT:
            raise RejectedError(409, "the object has been modified; please apply your changes to the latest version")
        if subresource != "status":
            self._check_refusal(method, ref)
        verb = "apply" if ref in self.cluster.objects else "create"
        if method == "POST":
            done, answer = f"create {kind}", cast(Object, body)
        elif subresource == "status":
            done, answer = "status", self._replace_status(ref, body)
        elif method == "DELETE":
            done, answer = f"delete {ref}", self._delete(ref, body["preconditions"]["uid"])
        elif content_type == "application/merge-patch+json":
            done, answer = f"patch {ref}", self._merge(ref, body)
        else:
            done, answer = f"{verb} {ref}", self._apply(ref, body)
        self.writes.append(done)
        return answer

    def _merge(self, ref: Ref, body: Object) -> Object:
        live = self._live(ref)
        return self.cluster.replace(ref.kind, {**live, "spec": {**live["spec"], **body["spec"]}})

    def _check_served(self, kind: Kind) -> None:
        if kind in KINDS and not self.cluster.serves(kind):
            raise RejectedError(404, "404 page not found")

    def _check_refusal(self, method: str, ref: Ref) -> None:
        refusal = self.refusals.get(ref.kind)
        if refusal is Refusal.FORBIDDEN:
            resource = f'resource "{ref.kind.plural}" in API group "{ref.kind.group}"'
            raise RejectedError(403, f'"{ref.name}" is forbidden: User "{USER}" cannot {method.lower()} {resource}')
        if refusal is Refusal.INVALID and method != "DELETE":
            raise RejectedError(422, f"{ref} is invalid: spec: Invalid value")
        if refusal is Refusal.OCCUPIED and method != "DELETE" and ref not in self.cluster.objects:
            self.cluster.occupy(ref)

    def _live(self, ref: Ref) -> Object:
        live = self.cluster.objects.get(ref)
        if live is None:
            raise RejectedError(404, f"{ref} not found")
        return live

    def _replace_status(self, ref: Ref, patch: Any) -> Object:
        live = self._live(ref)
        test, add = patch
        if live["metadata"]["uid"] != test["value"]:
            raise RejectedError(422, "the server rejected our request due to an error in our request")
        return self.cluster.replace(ref.kind, {**live, "status": add["value"]})

    def _delete(self, ref: Ref, uid: str) -> Object:
        live = self._live(ref)
        if live["metadata"]["uid"] != uid:
            raise RejectedError(409, f"the UID in the precondition ({uid}) does not match")
        if not is_managed(live):
            self.violations.append(f"delete {ref}")
        self.cluster.delete(ref)
        return {}

    def _apply(self, ref: Ref, body: Object) -> Object:
        version, uid = body["metadata"].get("resourceVersion"), body["metadata"].get("uid")
        hidden = ("resourceVersion", "uid")
        desired = {**body, "metadata": {name: each for name, each in body["metadata"].items() if name not in hidden}}
        live = self.cluster.objects.get(ref)
        ours = {"manager": MANAGER, "operation": "Apply", "fieldsV1": _fields(desired)}
        if live is None:
            if uid is not None:
                raise RejectedError(409, f"uid mismatch: {uid}, and no existing object was found")
            return self.cluster.create(ref.kind, _defaulted(ref.kind, self._managed(desired, ours)))
        if uid not in (None, live["metadata"]["uid"]):
            raise RejectedError(422, f'{ref} is invalid: metadata.uid: Invalid value: "{uid}": field is immutable')
        if version not in (None, live["metadata"]["resourceVersion"]):
            raise RejectedError(409, "the object has been modified; please apply your changes to the latest version")
        if not _has_same_owner(live, desired):
            self.violations.append(f"apply {ref} to {live['metadata']}")
        merged = _merged(ref.kind, live, desired)
        _validate(ref, live, desired)
        managed = live["metadata"].get("managedFields", [])
        kept = next((each for each in managed if each["manager"] == MANAGER), None)
        unchanged = kept is not None and kept["fieldsV1"] == ours["fieldsV1"] and merged == live
        return live if unchanged else self.cluster.replace(ref.kind, self._managed(merged, ours))

    def _managed(self, obj: Object, ours: Object) -> Object:
        return {
            **obj,
            "metadata": {**obj["metadata"], "managedFields": [{**ours, "time": written(self.cluster.now())}]},
        }


class _Connection:
    """The part of the `ApiClient` of the kubernetes package that `KubeClient` uses."""

    def __init__(self, server: FakeApiServer) -> None:
        self._server = server

    async def param_serialize(
        self, method: str, path: str, *, query_params: Any, header_params: Any, body: Any, auth_settings: Any
    ) -> tuple[Any, ...]:
        return method, path, dict(query_params), header_params["Content-Type"], body

    async def call_api(self, *call: Any, _request_timeout: Any) -> Any:
        try:
            status, content = 200, await self._server.answer(*call)
        except RejectedError as error:
            status, content = error.status, {"kind": "Status", "message": error.message}
        data = msgspec.json.encode(content)

        async def read() -> bytes:
            return data

        return SimpleNamespace(status=status, headers={}, read=read)


def _parts(path: str) -> tuple[Kind, str, str]:
    """Kind, name and subresource of a path."""
    if path in _PATHS:
        return _PATHS[path], "", ""
    collection, _, name = path.rpartition("/")
    if collection in _PATHS:
        return _PATHS[collection], name, ""
    kind, parent, _ = _parts(collection)
    return kind, parent, name


def _fields(desired: Object) -> Object:
    """The fields of an applied object as in managedFields; a whole field of the spec or the metadata each."""
    named = {**desired, "metadata": {n: v for n, v in desired["metadata"].items() if n not in ("name", "namespace")}}
    return {
        f"f:{section}": {f"f:{name}": {} for name in content} if section in ("metadata", "spec") else {}
        for section, content in named.items()
        if section not in ("apiVersion", "kind")
    }


def _defaulted(kind: Kind, obj: Object) -> Object:
    return {**obj, "spec": {"replicas": 1, **obj["spec"]}} if kind == DEPLOYMENT else obj


def _merged(kind: Kind, live: Object, desired: Object) -> Object:
    """The live object with the applied fields; fields of the spec that are not applied any more are removed."""
    dropped = {name[2:] for name in (owned_fields(live) or {}).get("f:spec", {})} - set(desired.get("spec", {}))
    metadata = {**live["metadata"], **desired["metadata"]}
    for field in ("labels", "annotations"):
        metadata[field] = {**live["metadata"].get(field, {}), **desired["metadata"].get(field, {})}
    merged = {**live, **desired, "metadata": metadata}
    if "spec" in live:
        kept = {name: value for name, value in live["spec"].items() if name not in dropped}
        merged["spec"] = {**kept, **desired.get("spec", {})}
    return _defaulted(kind, merged)


def _has_same_owner(live: Object, desired: Object) -> bool:
    """Whether an object is the model's own, or an orphan that the operator has created."""
    owner = controller_of(live)
    return owner == controller_of(desired) or (owner is None and owned_fields(live) is not None)


def _validate(ref: Ref, live: Object, desired: Object) -> None:
    if ref.kind == JOB and live["spec"] != desired["spec"]:
        raise RejectedError(422, f"{ref} is invalid: spec.template: field is immutable")
    if ref.kind == SERVICE and _ports(live) != _ports(desired):
        # An apply merges the list by port: both entries would have the same name.
        raise RejectedError(422, f'{ref} is invalid: spec.ports[1].name: Duplicate value: "http"')
    if controller_of(live) not in (None, controller_of(desired)):
        raise RejectedError(422, f"{ref} is invalid: Only one reference can have Controller set to true")


def _ports(service: Object) -> list[int]:
    return [each["port"] for each in service["spec"].get("ports", [])]
