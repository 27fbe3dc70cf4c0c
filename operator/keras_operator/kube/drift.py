"""Drift detection: whether a child is still as the operator applied it, without a request to the API server.

An annotation holds the hash of the rendered object: it differs when the desired object differs. The hash of the
operator's own entry in managedFields, with its time, differs when another field manager took one of the operator's
fields. After a restart the hash to compare with is unknown: the object's content is then compared once (`contains`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from keras_api.scalars import quantity
from keras_operator.kube.identity import MANAGER
from keras_operator.kube.kinds import Object

RENDERED = "keras-operator.dev/rendered"

# Kubernetes treats these maps as one value: a key that another manager adds changes their meaning.
ATOMIC_MAPS = {"selector", "matchLabels"}


def content_hash(content: Any) -> str:
    """Short hash of JSON-like content, independent of the order of keys."""
    return hashlib.blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=12).hexdigest()


def annotated(rendered: Object) -> tuple[Object, str]:
    """A rendered child with its own hash as an annotation, and that hash."""
    rendered_hash = content_hash(rendered)
    metadata = rendered["metadata"]
    annotations = {**metadata.get("annotations", {}), RENDERED: rendered_hash}
    return {**rendered, "metadata": {**metadata, "annotations": annotations}}, rendered_hash


def managed_fields_hash(obj: Object) -> str | None:
    """Hash of the fields that the operator owns in a live object; None when it has applied nothing to it."""
    ours = [
        [entry.get("fieldsV1"), entry.get("time")]
        for entry in obj["metadata"].get("managedFields") or []
        if entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
    ]
    return content_hash(ours) if ours else None


def contains(live: Any, rendered: Any, key: str = "") -> bool:
    """Whether the live object has everything that is rendered; quantities compare by value (``1000m`` is ``1``)."""
    if isinstance(rendered, Mapping):
        if not isinstance(live, Mapping):
            return not rendered and live is None
        if key in ATOMIC_MAPS and set(live) != set(rendered):
            return False
        return all(contains(live.get(name), value, name) for name, value in rendered.items())
    if isinstance(rendered, list):
        if not isinstance(live, list):
            return not rendered and live is None
        return len(live) == len(rendered) and all(contains(a, b) for a, b in zip(live, rendered, strict=True))
    return bool(live == rendered) or _is_same_quantity(live, rendered)


def _is_same_quantity(live: Any, rendered: Any) -> bool:
    if not isinstance(live, (str, int, float)) or not isinstance(rendered, (str, int, float)):
        return False
    try:
        return quantity(live) == quantity(rendered)
    except ValueError:
        return False
