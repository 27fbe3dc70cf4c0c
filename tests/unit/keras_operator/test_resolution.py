"""What a restarted operator still knows of a model's source."""

from __future__ import annotations

from typing import Any

import pytest
from operator_makers import ago, body

from keras_api.reasons import Reason
from keras_api.resource import parse_model
from keras_operator.kinds import Object
from keras_operator.resolution import Resolution, remembered
from keras_operator.status.failure import Failure
from keras_store.fingerprint import Fingerprint

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
KNOWN = Resolution(Fingerprint("etag-1", 5))
REMEMBERED: dict[str, tuple[Object, Resolution]] = {
    "nothing": ({}, Resolution()),
    "its answer": ({"observedGeneration": 1, **FOUND}, KNOWN),
    "its failure": (status("SourceNotFound", "resolve", "SourceNotFound"), Resolution(failure=GONE)),
    "no failure that is mended": (status("RollingOut", "resolve", "SourceNotFound", **FOUND), KNOWN),
    "no failure of another step": (status("CrashLoop", "serve", "CrashLoop", **FOUND), KNOWN),
    "no failure of the spec": (status("SpecInvalid", "resolve", "SpecInvalid"), Resolution()),
    "no failure of another spec": (status("SourceNotFound", "resolve", "SourceNotFound", 0), Resolution()),
    "no reason that another version gave": (status("SourceOdd", "resolve", "SourceOdd"), Resolution()),
}


@pytest.mark.parametrize(("said", "known"), REMEMBERED.values(), ids=REMEMBERED)
def test_status_remembers(said: Object, known: Resolution) -> None:
    assert remembered(parse_model(body(said))) == known
