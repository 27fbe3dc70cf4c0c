"""What the source last answered when it was asked for its version."""

from __future__ import annotations

from dataclasses import dataclass

from keras_api.resource import KerasModel
from keras_operator.status.failure import Failure


@dataclass(frozen=True)
class Identity:
    """What identifies the content of a source: its digest, ETag, or size and time."""

    value: str
    size_bytes: int | None = None


@dataclass(frozen=True)
class Resolution:
    """The last answer, and what has gone wrong since."""

    fingerprint: Identity | None = None
    failure: Failure | None = None


def remembered(model: KerasModel) -> Resolution:
    """What status says the source answered before this process began; nothing if the spec has changed since."""
    source, seen = model.spec.source, model.status.source
    if seen is None or seen.uri != source.uri or model.status.observed_generation != model.metadata.generation:
        return Resolution()
    if source.digest and seen.fingerprint != source.digest:
        return Resolution()
    return Resolution(Identity(seen.fingerprint, seen.size_bytes))
