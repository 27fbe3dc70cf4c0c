"""The state of a model's source that a restarted operator reads from status."""

from __future__ import annotations

from typing import Any

import pytest
from operator_makers import ago, body

from keras_api.reasons import Reason
from keras_api.resource import parse_model
from keras_operator.kube.kinds import Object
from keras_operator.state.failure import Failure
from keras_operator.state.source_resolution import SourceResolution, remembered
from keras_store.sources.fingerprint import Fingerprint

URI = "s3://models/digits.keras"
FOUND: Object = {"source": {"fingerprint": "etag-1", "uri": URI, "sizeBytes": 5}}


def status(reason: str, step: str, failed: str, generation: int = 1, **more: Any) -> Object:
    """A status whose Ready is False with one reason, and whose last failure may have another one."""
    return {
        "observedGeneration": generation,
        "conditions": [
            {"type": "Ready", "status": "False", "reason": reason, "message": "m", "lastTransitionTime": ago(9)}
        ],
        "lastFailure": {"step": step, "reason": failed, "message": "the bucket is empty", "time": ago(9)},
        **more,
    }


FAILURE = Failure("resolve", Reason.SOURCE_NOT_FOUND, "the bucket is empty")
KNOWN = SourceResolution(Fingerprint("etag-1", 5))
REMEMBERED: dict[str, tuple[Object, SourceResolution]] = {
    "an empty status": ({}, SourceResolution()),
    "the answer": ({"observedGeneration": 1, **FOUND}, KNOWN),
    "the failure": (status("SourceNotFound", "resolve", "SourceNotFound"), SourceResolution(failure=FAILURE)),
    "a fixed failure is ignored": (status("RollingOut", "resolve", "SourceNotFound", **FOUND), KNOWN),
    "a failure of another step is ignored": (status("CrashLoop", "serve", "CrashLoop", **FOUND), KNOWN),
    "an invalid spec is ignored": (status("SpecInvalid", "resolve", "SpecInvalid"), SourceResolution()),
    "a failure of another spec is ignored": (
        status("SourceNotFound", "resolve", "SourceNotFound", 0),
        SourceResolution(),
    ),
    "an unknown reason is ignored": (status("SourceOdd", "resolve", "SourceOdd"), SourceResolution()),
}


@pytest.mark.parametrize(("status", "known"), REMEMBERED.values(), ids=REMEMBERED)
def test_the_resolution_is_restored_from_status(status: Object, known: SourceResolution) -> None:
    assert remembered(parse_model(body(status))) == known
