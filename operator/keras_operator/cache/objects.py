"""Live objects as the cache keeps them: only the fields that the operator reads, to save memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from keras_operator.kube.drift import RENDERED, managed_fields_hash
from keras_operator.kube.kinds import KERAS_MODEL, ChildKind, Key, Kind, Object, Ref
from keras_operator.naming.labels import ATTEMPT, COMPONENT, MEMORY_FACTOR, MEMORY_MIB, MODEL, REVISION, SERVING
from keras_operator.naming.sizing import USUAL, Memory


@dataclass(frozen=True)
class Child:
    """A live object that carries a model's label."""

    ref: Ref
    uid: str
    created: str
    version: int
    generation: int
    controller: str | None
    """uid of the controlling owner."""
    deleting: bool
    rendered: str | None
    """Hash of the content that the operator applied last, from the annotation."""
    managed_fields_hash: str | None
    """Hash of the fields that the operator owns; None when it has applied nothing to the object."""
    revision: str = ""
    serving: str = ""
    """Hash of the spec that the new pods of a Deployment follow."""
    attempt: int = 1
    """Number of a Job's attempt, from 1."""
    memory: Memory = USUAL
    """Memory of a Job's containers."""
    status: Object = field(default_factory=dict)
    replicas: int | None = None
    """``spec.replicas`` of a Deployment."""
    body: bytes | None = None
    """The whole object as JSON, much smaller than dicts; kept until it is compared with the rendered object."""


@dataclass(frozen=True)
class Pod:
    """A pod of a model."""

    name: str
    uid: str
    version: int
    owner: str | None
    """uid of the controlling owner."""
    component: str
    revision: str
    serving: str
    """Hash of the spec that the pod follows."""
    created: str
    deleting: bool
    status: Object
    """phase, reason, message, conditions, initContainerStatuses and containerStatuses."""

    @property
    def ready(self) -> bool:
        """Whether the pod answers requests."""
        return not self.deleting and any(
            each["type"] == "Ready" and each["status"] == "True" for each in self.status.get("conditions", [])
        )


def key_of(kind: Kind, obj: Object) -> Key | None:
    """The model that an object belongs to, by name or label; None for an object of another owner."""
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


_CONDITION_FIELDS = ("type", "status", "reason", "message", "lastTransitionTime")
_CONTAINER_FIELDS = ("name", "ready", "restartCount", "state", "lastState")


def child_of(child_kind: ChildKind, obj: Object) -> Child:
    """A child as the cache keeps it, without its content."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    described = spec["template"]["metadata"] if child_kind.has_pod_template else metadata
    return Child(
        ref=Ref(child_kind.kind, metadata["name"]),
        uid=metadata["uid"],
        created=metadata["creationTimestamp"],
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 0),
        controller=controller_of(obj),
        deleting="deletionTimestamp" in metadata,
        rendered=annotations.get(RENDERED),
        managed_fields_hash=managed_fields_hash(obj),
        revision=(described.get("labels") or {}).get(REVISION, ""),
        serving=(described.get("annotations") or {}).get(SERVING, ""),
        attempt=_number(annotations.get(ATTEMPT), 1),
        memory=Memory(_number(annotations.get(MEMORY_MIB), 0), _number(annotations.get(MEMORY_FACTOR), 1)),
        status=_select(obj.get("status") or {}, child_kind.status_fields),
        replicas=spec.get("replicas") if child_kind.has_pod_template else None,
    )


def content_of(obj: Object) -> bytes:
    """Everything of an object that a rendered object can set."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    return msgspec.json.encode(
        {**{name: value for name, value in obj.items() if name != "status"}, "metadata": metadata}
    )


def pod_of(obj: Object) -> Pod:
    """A pod as the cache keeps it."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    labels = metadata.get("labels") or {}
    slim: Object = _select(status, ("phase", "reason", "message", "conditions"))
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


def _select(status: Object, fields: tuple[str, ...]) -> Object:
    slim: dict[str, Any] = {name: status[name] for name in fields if name in status}
    if "conditions" in slim:
        slim["conditions"] = [
            {name: each[name] for name in _CONDITION_FIELDS if name in each} for each in slim["conditions"] or []
        ]
    return slim


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default
