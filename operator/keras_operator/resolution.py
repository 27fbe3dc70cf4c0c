"""What the source last answered when it was asked for its version."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keras_api.resource import KerasModel
from keras_operator.status.failure import Failure
from keras_store.fingerprint import Fingerprint


@dataclass(frozen=True)
class Resolution:
    """The last answer, and what has gone wrong since."""

    fingerprint: Fingerprint | None = None
    failure: Failure | None = None
    asked: datetime | None = None
    """When the source was asked for the first time, until it has answered."""


def remembered(model: KerasModel) -> Resolution:
    """What status says the source answered before this process began; nothing if the spec has changed since."""
    source, seen = model.spec.source, model.status.source
    if seen is None or seen.uri != source.uri:
        return Resolution()
    # A spec that changed meanwhile may lead elsewhere under the same address. A suspended one is not asked again.
    if model.status.observed_generation != model.metadata.generation and not model.spec.suspend:
        return Resolution()
    if source.digest and seen.fingerprint != source.digest:
        return Resolution()
    return Resolution(Fingerprint(seen.fingerprint, seen.size_bytes))
