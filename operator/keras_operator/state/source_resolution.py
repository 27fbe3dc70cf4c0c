"""The last answer of a source about its version."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keras_api.reasons import REASON_DOCS, ConditionType, Reason
from keras_api.resource import KerasModel
from keras_operator.state.conditions import find_condition
from keras_operator.state.failure import Failure, is_terminal
from keras_store.sources.fingerprint import Fingerprint


@dataclass(frozen=True)
class SourceResolution:
    """The last answer, and the failure since then."""

    fingerprint: Fingerprint | None = None
    failure: Failure | None = None
    asked: datetime | None = None
    """Time of the first request, until the source has answered."""


def remembered(model: KerasModel) -> SourceResolution:
    """The answer that the status has from before this process began; none if the spec has changed since then."""
    same_spec = model.status.observed_generation == model.metadata.generation
    # With a changed spec the same address may be another file. The source of a suspended model is not polled.
    fingerprint = _fingerprint(model) if same_spec or model.spec.suspend else None
    return SourceResolution(fingerprint, _failure(model) if same_spec else None)


def _fingerprint(model: KerasModel) -> Fingerprint | None:
    source, observed = model.spec.source, model.status.source
    if observed is None or observed.uri != source.uri or (source.digest and observed.fingerprint != source.digest):
        return None
    return Fingerprint(observed.fingerprint, observed.size_bytes)


def _failure(model: KerasModel) -> Failure | None:
    """The failure of the source, if Ready reports it."""
    ready = find_condition(model.status, ConditionType.READY)
    failure = model.status.last_failure
    if ready is None or failure is None or (failure.step, failure.reason) != ("resolve", ready.reason):
        return None
    if failure.reason not in REASON_DOCS or failure.reason == Reason.SPEC_INVALID:
        return None  # written by another version of the operator, or not about the source
    reason = Reason(failure.reason)
    return Failure("resolve", reason, failure.message, final=is_terminal(reason))
