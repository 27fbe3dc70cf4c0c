"""Whether a child is still as we applied it, judged from the object that the watch delivers, without a request.

An annotation holds the hash of what was rendered: it changes when we want something else. The digest of our own
entry in managedFields, with its time, changes when anybody else took one of our fields. After a restart the digest to
compare with is unknown: then the object's content is compared once (`holds`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from keras_api.scalars import quantity
from keras_operator.kube.kinds import Object
from keras_operator.naming.labels import MANAGER

RENDERED = "keras-operator.dev/rendered"

# Maps that Kubernetes treats as one value: a key that somebody added changes their meaning.
ATOMIC_MAPS = {"selector", "matchLabels"}


def fingerprint(content: Any) -> str:
    """Short hash of JSON-like content, independent of the order of keys."""
    return hashlib.blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=12).hexdigest()


def annotated(rendered: Object) -> tuple[Object, str]:
    """A rendered child with the hash of itself as an annotation, and that hash."""
    digest = fingerprint(rendered)
    metadata = rendered["metadata"]
    annotations = {**metadata.get("annotations", {}), RENDERED: digest}
    return {**rendered, "metadata": {**metadata, "annotations": annotations}}, digest


def managed_fields_hash(obj: Object) -> str | None:
    """Digest of the fields that we own in a live object; None when we have applied nothing to it."""
    ours = [
        [entry.get("fieldsV1"), entry.get("time")]
        for entry in obj["metadata"].get("managedFields") or []
        if entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
    ]
    return fingerprint(ours) if ours else None


def contains(live: Any, rendered: Any, key: str = "") -> bool:
    """Whether everything rendered is in the live object, with quantities compared by value (``1000m`` is ``1``)."""
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
    return bool(live == rendered) or _same_quantity(live, rendered)


def _same_quantity(live: Any, rendered: Any) -> bool:
    if not isinstance(live, (str, int, float)) or not isinstance(rendered, (str, int, float)):
        return False
    try:
        return quantity(live) == quantity(rendered)
    except ValueError:
        return False
