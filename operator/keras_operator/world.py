"""The cache: what the watch has said about models, their children and their pods, cut down to what is used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from keras_operator.drift import RENDERED, owned_digest
from keras_operator.kinds import DEPLOYMENT, JOB, KERAS_MODEL, POD, Key, Kind, Object, Ref
from keras_operator.problem import Problem
from keras_operator.render.labels import ATTEMPT, COMPONENT, MEMORY_FACTOR, MEMORY_MIB, MODEL, REVISION, SERVING
from keras_operator.render.sizing import USUAL, Memory


@dataclass(frozen=True)
class Child:
    """A live object that carries a model's label."""

    ref: Ref
    uid: str
    version: int
    generation: int
    controller: str | None
    """uid of the controlling owner."""
    deleting: bool
    rendered: str | None
    """Hash of what we applied last, from the annotation."""
    digest: str | None
    """Digest of the fields that we own; None when we applied nothing."""
    revision: str = ""
    serving: str = ""
    """Hash of the spec that a Deployment's new pods follow."""
    attempt: int = 1
    memory: Memory = USUAL
    """What a prepare Job's containers got."""
    status: Object = field(default_factory=dict)
    replicas: int | None = None
    """Pods wanted, of a Deployment."""
    body: bytes | None = None
    """The whole object as JSON, much smaller than as dicts; kept until it was once compared with what is wanted."""


@dataclass(frozen=True)
class Pod:
    """A pod of a model."""

    name: str
    uid: str
    version: int
    owner: str | None
    component: str
    revision: str
    serving: str
    """Hash of the spec that it follows."""
    created: str
    deleting: bool
    status: Object
    """phase, reason, message, conditions, initContainerStatuses and containerStatuses."""

    @property
    def ready(self) -> bool:
        """Whether it answers requests."""
        return not self.deleting and any(
            each["type"] == "Ready" and each["status"] == "True" for each in self.status.get("conditions", [])
        )


# A kind in a namespace, or in all with None: what one watch is about.
Place = tuple[Kind, str | None]


class World:
    """What is known of the cluster. Plain memory: nothing here waits or fails."""

    def __init__(self) -> None:
        self._models: dict[Key, Object] = {}
        self._children: dict[Key, dict[Ref, Child]] = defaultdict(dict)
        self._pods: dict[Key, dict[str, Pod]] = defaultdict(dict)
        self._trusted: dict[str, str] = {}
        self._keys: dict[str, Key] = {}
        self._listings: list[Listing] = []
        self.has_service_monitors = False
        """Whether the cluster has that kind."""
        self.denied: dict[tuple[Place, str], Problem] = {}
        """What the operator has no right to list or watch, by place and verb: there it may not see what is so."""

    def model(self, key: Key) -> Object | None:
        """The resource, unless it is gone or going."""
        body = self._models.get(key)
        return None if body is None or body["metadata"].get("deletionTimestamp") else body

    def children(self, key: Key) -> Mapping[Ref, Child]:
        """The model's children by kind and name."""
        return dict(self._children.get(key, {}))

    def pods(self, key: Key) -> tuple[Pod, ...]:
        """The model's pods by name."""
        return tuple(pod for _, pod in sorted(self._pods.get(key, {}).items()))

    def hidden(self, key: Key) -> Mapping[Kind, Problem]:
        """Kinds of which the operator may not see what the model has, and why."""
        return {kind: problem for ((kind, where), _), problem in self.denied.items() if where in (None, key.namespace)}

    def models(self) -> Mapping[Key, Object]:
        """All resources."""
        return self._models

    def see(self, kind: Kind, obj: Object) -> Key | None:
        """Take in an object as the API server sent it. Returns the model that must be looked at because of it."""
        key = self._key(kind, obj)
        if key is None:
            return None
        if kind == KERAS_MODEL:
            return key if self._see_model(key, obj) else None
        self._keys[obj["metadata"]["uid"]] = key
        if kind == POD:
            return key if self._see_pod(key, obj) else None
        return key if self._see_child(key, kind, obj) else None

    def see_applied(self, kind: Kind, obj: Object) -> None:
        """Take in the answer to applying a child: this is how we want it, even if the watch is ahead of the answer."""
        self.see(kind, obj)
        key = self._key(kind, obj)
        if key is not None:
            self.trust(key, _child(kind, obj))

    def forget(self, kind: Kind, obj: Object) -> Key | None:
        """Take in that an object is gone. Returns the model that must be looked at because of it."""
        key = self._key(kind, obj)
        uid, name = obj["metadata"]["uid"], obj["metadata"]["name"]
        self._keys.pop(uid, None)
        for listing in self._listings:
            listing.gone.add(uid)
        if key is None:
            return None
        if kind == KERAS_MODEL:
            if key in self._models and self._models[key]["metadata"]["uid"] == uid:
                del self._models[key]
                return key
            return None
        # A new object may have taken the name already: only what is known by the same uid is gone.
        if kind == POD:
            pods = self._pods.get(key, {})
            known: Pod | Child | None = pods.get(name)
            if known is None or known.uid != uid:
                return None
            del pods[name]
        else:
            children = self._children.get(key, {})
            known = children.get(Ref(kind, name))
            if known is None or known.uid != uid:
                return None
            del children[Ref(kind, name)]
            self._trusted.pop(known.uid, None)
        self._drop_if_empty(key)
        return key

    @contextmanager
    def listing(self, kind: Kind, namespace: str | None) -> Iterator[Listing]:
        """Take in all objects of a kind, page by page, while watches go on telling of it.

        Args:
            kind: what is listed.
            namespace: where; None for everywhere.
        """
        listing = Listing(self, kind, namespace)
        self._listings.append(listing)
        try:
            yield listing
        finally:
            self._listings.remove(listing)

    def forget_all(self, kind: Kind) -> None:
        """Take in that the cluster has no such kind any more."""
        for key, ghost in list(self._known(kind)):
            self._forget_ghost(kind, key, ghost)

    def trusts(self, child: Child) -> bool | None:
        """Whether the fields we own are as we left them; None when that is not known yet."""
        trusted = self._trusted.get(child.uid)
        return None if trusted is None else trusted == child.digest

    def trust(self, key: Key, child: Child) -> None:
        """Remember that the child's present state is right, and let go of its content."""
        if child.digest is not None:
            self._trusted[child.uid] = child.digest
        children = self._children.get(key, {})
        if child.ref in children:
            children[child.ref] = replace(children[child.ref], body=None)

    def _key(self, kind: Kind, obj: Object) -> Key | None:
        """The model that an object belongs to. What was a model's once stays it, whoever takes off its labels."""
        if kind == KERAS_MODEL:
            return key_of(kind, obj)
        return self._keys.get(obj["metadata"]["uid"]) or key_of(kind, obj)

    def _see_model(self, key: Key, obj: Object) -> bool:
        metadata = obj["metadata"]
        old = self._models.get(key)
        if old is not None and int(old["metadata"]["resourceVersion"]) > int(metadata["resourceVersion"]):
            return False
        new = {
            "metadata": {name: metadata[name] for name in _MODEL_METADATA if name in metadata},
            "spec": obj.get("spec", {}),
            "status": obj.get("status", {}),
        }
        self._models[key] = new
        return old is None or _without_version(old) != _without_version(new)

    def _see_child(self, key: Key, kind: Kind, obj: Object) -> bool:
        new = _child(kind, obj)
        old = self._children.get(key, {}).get(new.ref)
        if old is not None and old.version > new.version:
            return False
        # A Job is never applied again, so never compared.
        if kind != JOB and (new.digest is None or self._trusted.get(new.uid) != new.digest):
            new = replace(new, body=_content(obj))
        self._children[key][new.ref] = new
        return old is None or replace(old, version=0, body=None) != replace(new, version=0, body=None)

    def _see_pod(self, key: Key, obj: Object) -> bool:
        new = _pod(obj)
        old = self._pods.get(key, {}).get(new.name)
        if old is not None and old.version > new.version:
            return False
        self._pods[key][new.name] = new
        return old is None or replace(old, version=0) != replace(new, version=0)

    def _known(self, kind: Kind) -> Iterable[tuple[Key, Object]]:
        """Objects of a kind, as much as identifies them."""
        if kind == KERAS_MODEL:
            yield from self._models.items()
        elif kind == POD:
            for key, pods in self._pods.items():
                for pod in pods.values():
                    yield key, _identity(pod.name, pod.uid, pod.version)
        else:
            for key, children in self._children.items():
                for child in children.values():
                    if child.ref.kind == kind:
                        yield key, _identity(child.ref.name, child.uid, child.version)

    def _forget_ghost(self, kind: Kind, key: Key, ghost: Object) -> Key | None:
        return self.forget(kind, {"metadata": {**ghost["metadata"], "namespace": key.namespace}})

    def _drop_if_empty(self, key: Key) -> None:
        for table in (self._children, self._pods):
            if key in table and not table[key]:
                del table[key]


@dataclass
class Listing:
    """A listing on its way into the world; see `World.listing`."""

    world: World
    kind: Kind
    namespace: str | None
    present: set[str] = field(default_factory=set)
    """Uids of what it has brought so far."""
    gone: set[str] = field(default_factory=set)
    """Uids of what was deleted since it began: a page that was cut before must not bring it back."""

    version: int = 0
    """The listing's resourceVersion, the same in all pages."""

    def take(self, objects: Iterable[Object], version: int) -> set[Key]:
        """Take in a page. Returns the models to be looked at."""
        self.version = version
        changed = set()
        for obj in objects:
            uid = obj["metadata"]["uid"]
            self.present.add(uid)
            if uid not in self.gone:
                changed.add(self.world.see(self.kind, obj))
        return {key for key in changed if key is not None}

    def end(self) -> set[Key]:
        """Forget what was in no page, unless it is newer than the listing. Returns the models to be looked at."""
        ghosts = [
            (key, ghost)
            for key, ghost in self.world._known(self.kind)
            if self.namespace in (None, key.namespace)
            and ghost["metadata"]["uid"] not in self.present
            and int(ghost["metadata"]["resourceVersion"]) <= self.version
        ]
        changed = {self.world._forget_ghost(self.kind, key, ghost) for key, ghost in ghosts}
        return {key for key in changed if key is not None}


def key_of(kind: Kind, obj: Object) -> Key | None:
    """The model that an object belongs to, by name or label; None for an object of somebody else."""
    metadata = obj["metadata"]
    if kind == KERAS_MODEL:
        return Key(metadata["namespace"], metadata["name"])
    model = (metadata.get("labels") or {}).get(MODEL)
    return Key(metadata["namespace"], model) if model else None


def controller_of(obj: Object) -> str | None:
    """uid of an object's controlling owner."""
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return str(owner["uid"])
    return None


_MODEL_METADATA = (
    "name",
    "namespace",
    "uid",
    "generation",
    "resourceVersion",
    "deletionTimestamp",
)
_STATUS_FIELDS: dict[Kind, tuple[str, ...]] = {
    DEPLOYMENT: (
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "conditions",
    ),
    JOB: ("conditions", "startTime", "active"),
}
_CONDITION_FIELDS = ("type", "status", "reason", "message", "lastTransitionTime")
_CONTAINER_FIELDS = ("name", "ready", "restartCount", "state", "lastState")


def _child(kind: Kind, obj: Object) -> Child:
    metadata = obj["metadata"]
    annotations = metadata.get("annotations") or {}
    # Of a Deployment, what its pods are.
    described = obj["spec"]["template"]["metadata"] if kind == DEPLOYMENT else metadata
    status = obj.get("status") or {}
    return Child(
        ref=Ref(kind, metadata["name"]),
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 0),
        controller=controller_of(obj),
        deleting="deletionTimestamp" in metadata,
        rendered=annotations.get(RENDERED),
        digest=owned_digest(obj),
        revision=(described.get("labels") or {}).get(REVISION, ""),
        serving=(described.get("annotations") or {}).get(SERVING, ""),
        attempt=_number(annotations.get(ATTEMPT), 1),
        memory=Memory(_number(annotations.get(MEMORY_MIB), 0), _number(annotations.get(MEMORY_FACTOR), 1)),
        status=_cut(status, _STATUS_FIELDS.get(kind, ())),
        replicas=obj["spec"].get("replicas") if kind == DEPLOYMENT else None,
    )


def _content(obj: Object) -> bytes:
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    return msgspec.json.encode(
        {**{name: value for name, value in obj.items() if name != "status"}, "metadata": metadata}
    )


def _pod(obj: Object) -> Pod:
    metadata, status = obj["metadata"], obj.get("status") or {}
    labels = metadata.get("labels") or {}
    slim: Object = _cut(status, ("phase", "reason", "message", "conditions"))
    for name in ("initContainerStatuses", "containerStatuses"):
        slim[name] = [
            {field: each[field] for field in _CONTAINER_FIELDS if field in each} for each in status.get(name) or []
        ]
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        owner=controller_of(obj),
        component=labels.get(COMPONENT, ""),
        revision=labels.get(REVISION, ""),
        serving=(metadata.get("annotations") or {}).get(SERVING, ""),
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        status=slim,
    )


def _cut(status: Object, fields: tuple[str, ...]) -> Object:
    slim: dict[str, Any] = {name: status[name] for name in fields if name in status}
    if "conditions" in slim:
        slim["conditions"] = [
            {name: each[name] for name in _CONDITION_FIELDS if name in each} for each in slim["conditions"] or []
        ]
    return slim


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default


def _identity(name: str, uid: str, version: int) -> Object:
    return {"metadata": {"name": name, "uid": uid, "resourceVersion": str(version)}}


def _without_version(model: Object) -> Object:
    return {**model, "metadata": {**model["metadata"], "resourceVersion": ""}}
