"""The informer cache: the models, their children and their pods as watches and listings last reported them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from keras_operator.cache.objects import Child, Pod, child_of, content_of, key_of, pod_of
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import JOB, KERAS_MODEL, POD, ChildKind, Key, Kind, Object, Ref, WatchScope


class Cache:
    """Plain memory: no method waits or fails. For use from one event loop.

    Args:
        child_kinds: the kinds of children, with the fields to keep of each.
    """

    def __init__(self, child_kinds: Iterable[ChildKind]) -> None:
        self._child_kinds = {each.kind: each for each in child_kinds}
        self._models: dict[Key, Object] = {}
        self._children: dict[Key, dict[Ref, Child]] = defaultdict(dict)
        self._pods: dict[Key, dict[str, Pod]] = defaultdict(dict)
        self._removed_pods: dict[Key, dict[str, Pod]] = defaultdict(dict)
        self._unmodified: dict[str, str] = {}
        self._keys: dict[str, Key] = {}
        self._listings: list[Listing] = []
        self._served: set[Kind] = set()
        self._forbidden: dict[tuple[WatchScope, str], ApplyError] = {}

    def model(self, key: Key) -> Object | None:
        """The resource; None when it does not exist or is being deleted."""
        body = self._models.get(key)
        return None if body is None or body["metadata"].get("deletionTimestamp") else body

    def models(self) -> Mapping[Key, Object]:
        """All resources."""
        return self._models

    def children(self, key: Key) -> Mapping[Ref, Child]:
        """The model's children by kind and name."""
        return dict(self._children.get(key, {}))

    def pods(self, key: Key) -> tuple[Pod, ...]:
        """The model's pods by name."""
        return tuple(pod for _, pod in sorted(self._pods.get(key, {}).items()))

    def removed_pods(self, key: Key) -> tuple[Pod, ...]:
        """The last pod of each Job that still exists, in its last observed state, if that pod no longer exists.

        Two watches report the end of a pod and the end of its Job, in any order. Only this record then has the last
        state of the pod.
        """
        return tuple(self._removed_pods.get(key, {}).values())

    def update(self, kind: Kind, obj: Object) -> Key | None:
        """Record an object as the API server sent it. Returns the model to reconcile because of it."""
        key = self._key(kind, obj)
        if key is None:
            return None
        if kind == KERAS_MODEL:
            return key if self._update_model(key, obj) else None
        self._keys[obj["metadata"]["uid"]] = key
        if kind == POD:
            return key if self._update_pod(key, obj) else None
        return key if self._update_child(key, kind, obj) else None

    def update_applied(self, kind: Kind, obj: Object) -> None:
        """Record the answer to an apply: this is the desired state, even if the watch is ahead of the answer."""
        self.update(kind, obj)
        key = self._key(kind, obj)
        if key is not None:
            self.mark_unmodified(key, child_of(self._child_kinds[kind], obj))

    def remove(self, kind: Kind, obj: Object) -> Key | None:
        """Record that an object no longer exists. Returns the model to reconcile because of it."""
        key = self._key(kind, obj)
        uid, name = obj["metadata"]["uid"], obj["metadata"]["name"]
        self._keys.pop(uid, None)
        for listing in self._listings:
            listing.removed.add(uid)
        if key is None:
            return None
        if kind == KERAS_MODEL:
            if key in self._models and self._models[key]["metadata"]["uid"] == uid:
                del self._models[key]
                return key
            return None
        # A new object may have the same name already: only the one with this uid was deleted.
        removed = self._remove_pod(key, name, uid) if kind == POD else self._remove_child(key, Ref(kind, name), uid)
        self._drop_if_empty(key)
        return key if removed else None

    def remove_all(self, kind: Kind) -> None:
        """Record that the cluster no longer serves a kind."""
        for key, stale in list(self._known(kind)):
            self._remove_stale(kind, key, stale)

    @contextmanager
    def listing(self, kind: Kind, namespace: str | None) -> Iterator[Listing]:
        """Record all objects of a kind, page by page, while watches report changes.

        Args:
            kind: the kind that is listed.
            namespace: the namespace; None for all.
        """
        listing = Listing(self, kind, namespace)
        self._listings.append(listing)
        try:
            yield listing
        finally:
            self._listings.remove(listing)

    def is_unmodified(self, child: Child) -> bool | None:
        """Whether the fields that the operator owns are as it applied them; None when that is not known yet."""
        known = self._unmodified.get(child.uid)
        return None if known is None else known == child.managed_fields_hash

    def mark_unmodified(self, key: Key, child: Child) -> None:
        """Remember that the child's present state is the desired one, and drop its content."""
        if child.managed_fields_hash is not None:
            self._unmodified[child.uid] = child.managed_fields_hash
        children = self._children.get(key, {})
        if child.ref in children:
            children[child.ref] = replace(children[child.ref], body=None)

    # Kinds that may be absent, and permissions that may be missing

    def serves(self, kind: Kind) -> bool:
        """Whether the cluster serves an optional kind."""
        return kind in self._served

    def served_kinds(self) -> frozenset[Kind]:
        """The optional kinds that the cluster serves."""
        return frozenset(self._served)

    def set_served(self, kind: Kind, served: bool) -> None:
        """Record whether the cluster serves an optional kind."""
        (self._served.add if served else self._served.discard)(kind)

    def forbidden(self, key: Key) -> Mapping[Kind, ApplyError]:
        """Kinds that the operator has no permission to list or watch in the model's namespace, with the error."""
        return {kind: error for ((kind, where), _), error in self._forbidden.items() if where in (None, key.namespace)}

    def forbidden_scopes(self) -> Mapping[tuple[WatchScope, str], ApplyError]:
        """All missing permissions by scope and verb, with the error."""
        return self._forbidden

    def set_forbidden(self, scope: WatchScope, verb: str, error: ApplyError | None) -> bool:
        """Record a missing permission, or with None that it is granted. Returns whether that is a change."""
        if error is None:
            return self._forbidden.pop((scope, verb), None) is not None
        changed = self._forbidden.get((scope, verb)) != error
        self._forbidden[scope, verb] = error
        return changed

    # Updates and removals, by kind of object

    def _key(self, kind: Kind, obj: Object) -> Key | None:
        """The model that an object belongs to. An object keeps its model even when its labels are removed."""
        if kind == KERAS_MODEL:
            return key_of(kind, obj)
        return self._keys.get(obj["metadata"]["uid"]) or key_of(kind, obj)

    def _update_model(self, key: Key, obj: Object) -> bool:
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

    def _update_child(self, key: Key, kind: Kind, obj: Object) -> bool:
        new = child_of(self._child_kinds[kind], obj)
        old = self._children.get(key, {}).get(new.ref)
        if old is not None and old.version > new.version:
            return False
        # A Job is immutable: it is never applied again, so never compared.
        if kind != JOB and (
            new.managed_fields_hash is None or self._unmodified.get(new.uid) != new.managed_fields_hash
        ):
            new = replace(new, body=content_of(obj))
        self._children[key][new.ref] = new
        return old is None or replace(old, version=0, body=None) != replace(new, version=0, body=None)

    def _update_pod(self, key: Key, obj: Object) -> bool:
        new = pod_of(obj)
        old = self._pods.get(key, {}).get(new.name)
        if old is not None and old.version > new.version:
            return False
        self._pods[key][new.name] = new
        return old is None or replace(old, version=0) != replace(new, version=0)

    def _remove_child(self, key: Key, ref: Ref, uid: str) -> bool:
        # Also for a child that was replaced by another one of its name before its end was reported.
        self._unmodified.pop(uid, None)
        if key in self._removed_pods:
            self._removed_pods[key].pop(uid, None)
        children = self._children.get(key, {})
        if ref not in children or children[ref].uid != uid:
            return False
        del children[ref]
        return True

    def _remove_pod(self, key: Key, name: str, uid: str) -> bool:
        pods = self._pods.get(key, {})
        if name not in pods or pods[name].uid != uid:
            return False
        pod = pods.pop(name)
        jobs = {child.uid for ref, child in self._children.get(key, {}).items() if ref.kind == JOB}
        if pod.owner in jobs:
            before = self._removed_pods[key].get(pod.owner)
            if before is None or before.created <= pod.created:
                self._removed_pods[key][pod.owner] = pod
        return True

    def _known(self, kind: Kind) -> Iterable[tuple[Key, Object]]:
        """Objects of a kind, reduced to what identifies them."""
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

    def _remove_stale(self, kind: Kind, key: Key, stale: Object) -> Key | None:
        return self.remove(kind, {"metadata": {**stale["metadata"], "namespace": key.namespace}})

    def _drop_if_empty(self, key: Key) -> None:
        for table in (self._children, self._pods, self._removed_pods):
            if key in table and not table[key]:
                del table[key]


@dataclass
class Listing:
    """A listing in progress; see `Cache.listing`."""

    cache: Cache
    kind: Kind
    namespace: str | None
    present: set[str] = field(default_factory=set)
    """uids of the objects in the pages so far."""
    removed: set[str] = field(default_factory=set)
    """uids of objects deleted since it began: a page that the API server made before that must not restore them."""

    version: int = 0
    """The listing's resourceVersion, the same in all pages."""

    def add_page(self, objects: Iterable[Object], version: int) -> set[Key]:
        """Record a page. Returns the models to reconcile."""
        self.version = version
        changed = set()
        for obj in objects:
            uid = obj["metadata"]["uid"]
            self.present.add(uid)
            if uid not in self.removed:
                changed.add(self.cache.update(self.kind, obj))
        return {key for key in changed if key is not None}

    def end(self) -> set[Key]:
        """Remove objects that were in no page and are not newer. Returns the models to reconcile."""
        stale = [
            (key, obj)
            for key, obj in self.cache._known(self.kind)
            if self.namespace in (None, key.namespace)
            and obj["metadata"]["uid"] not in self.present
            and int(obj["metadata"]["resourceVersion"]) <= self.version
        ]
        changed = {self.cache._remove_stale(self.kind, key, obj) for key, obj in stale}
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
