"""What a restarted operator still knows of a model's source."""

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


GONE = Failure("resolve", Reason.SOURCE_NOT_FOUND, "the bucket is empty")
KNOWN = SourceResolution(Fingerprint("etag-1", 5))
REMEMBERED: dict[str, tuple[Object, SourceResolution]] = {
    "nothing": ({}, SourceResolution()),
    "its answer": ({"observedGeneration": 1, **FOUND}, KNOWN),
    "its failure": (status("SourceNotFound", "resolve", "SourceNotFound"), SourceResolution(failure=GONE)),
    "no failure that is mended": (status("RollingOut", "resolve", "SourceNotFound", **FOUND), KNOWN),
    "no failure of another step": (status("CrashLoop", "serve", "CrashLoop", **FOUND), KNOWN),
    "no failure of the spec": (status("SpecInvalid", "resolve", "SpecInvalid"), SourceResolution()),
    "no failure of another spec": (status("SourceNotFound", "resolve", "SourceNotFound", 0), SourceResolution()),
    "no reason that another version gave": (status("SourceOdd", "resolve", "SourceOdd"), SourceResolution()),
}


@pytest.mark.parametrize(("said", "known"), REMEMBERED.values(), ids=REMEMBERED)
def test_the_resolution_is_restored_from_status(said: Object, known: SourceResolution) -> None:
    assert remembered(parse_model(body(said))) == known
