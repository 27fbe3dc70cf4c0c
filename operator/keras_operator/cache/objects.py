"""Live objects as the operator keeps them: cut down to what is used, so that thousands take little memory. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from keras_operator.kube.drift import RENDERED, managed_fields_hash
from keras_operator.kube.kinds import DEPLOYMENT, JOB, KERAS_MODEL, Key, Kind, Object, Ref
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


def child_of(kind: Kind, obj: Object) -> Child:
    """A child as it is kept, without its content."""
    metadata = obj["metadata"]
    annotations = metadata.get("annotations") or {}
    # Of a Deployment, what its pods are.
    described = obj["spec"]["template"]["metadata"] if kind == DEPLOYMENT else metadata
    status = obj.get("status") or {}
    return Child(
        ref=Ref(kind, metadata["name"]),
        uid=metadata["uid"],
        created=metadata["creationTimestamp"],
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 0),
        controller=controller_of(obj),
        deleting="deletionTimestamp" in metadata,
        rendered=annotations.get(RENDERED),
        digest=managed_fields_hash(obj),
        revision=(described.get("labels") or {}).get(REVISION, ""),
        serving=(described.get("annotations") or {}).get(SERVING, ""),
        attempt=_number(annotations.get(ATTEMPT), 1),
        memory=Memory(_number(annotations.get(MEMORY_MIB), 0), _number(annotations.get(MEMORY_FACTOR), 1)),
        status=_cut(status, _STATUS_FIELDS.get(kind, ())),
        replicas=obj["spec"].get("replicas") if kind == DEPLOYMENT else None,
    )


def content_of(obj: Object) -> bytes:
    """All of an object that somebody may want to be otherwise."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    return msgspec.json.encode(
        {**{name: value for name, value in obj.items() if name != "status"}, "metadata": metadata}
    )


def pod_of(obj: Object) -> Pod:
    """A pod as it is kept."""
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
