"""The cache: what watches and listings have said about models, their children and their pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from keras_operator.cache.objects import Child, Pod, child_of, content_of, key_of, pod_of
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import JOB, KERAS_MODEL, POD, Key, Kind, Object, Ref

# A kind in a namespace, or in all with None: what one watch is about.
WatchScope = tuple[Kind, str | None]


class Cache:
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
        self.denied: dict[tuple[WatchScope, str], ApplyError] = {}
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

    def hidden(self, key: Key) -> Mapping[Kind, ApplyError]:
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
            self.trust(key, child_of(kind, obj))

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
        for key, stale_object in list(self._known(kind)):
            self._forget_stale(kind, key, stale_object)

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
        new = child_of(kind, obj)
        old = self._children.get(key, {}).get(new.ref)
        if old is not None and old.version > new.version:
            return False
        # A Job is never applied again, so never compared.
        if kind != JOB and (new.digest is None or self._trusted.get(new.uid) != new.digest):
            new = replace(new, body=content_of(obj))
        self._children[key][new.ref] = new
        return old is None or replace(old, version=0, body=None) != replace(new, version=0, body=None)

    def _see_pod(self, key: Key, obj: Object) -> bool:
        new = pod_of(obj)
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

    def _forget_stale(self, kind: Kind, key: Key, stale_object: Object) -> Key | None:
        return self.forget(kind, {"metadata": {**stale_object["metadata"], "namespace": key.namespace}})

    def _drop_if_empty(self, key: Key) -> None:
        for table in (self._children, self._pods):
            if key in table and not table[key]:
                del table[key]


@dataclass
class Listing:
    """A listing on its way into the world; see `Cache.listing`."""

    world: Cache
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
        stale = [
            (key, stale_object)
            for key, stale_object in self.world._known(self.kind)
            if self.namespace in (None, key.namespace)
            and stale_object["metadata"]["uid"] not in self.present
            and int(stale_object["metadata"]["resourceVersion"]) <= self.version
        ]
        changed = {self.world._forget_stale(self.kind, key, stale_object) for key, stale_object in stale}
        return {key for key in changed if key is not None}


_MODEL_METADATA = (
    "name",
    "namespace",
    "uid",
    "generation",
    "resourceVersion",
    "deletionTimestamp",
)


def _identity(name: str, uid: str, version: int) -> Object:
    return {"metadata": {"name": name, "uid": uid, "resourceVersion": str(version)}}


def _without_version(model: Object) -> Object:
    return {**model, "metadata": {**model["metadata"], "resourceVersion": ""}}
