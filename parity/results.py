"""What a run of the parity search finds, and its file."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


class Verdict(enum.StrEnum):
    """How a layer or operation fares."""

    EQUAL = "equal"
    REWRITTEN = "equal by a rewrite"
    TENSORFLOW = "TensorFlow only"
    DETECTED = "TensorFlow only (detected)"
    REPORTED = "half precision (reported)"
    REJECTED = "rejected"
    WRONG = "WRONG"
    FAILED = "search failed"


@dataclass
class Difference:
    """Keras and a runtime answer an input differently.

    Attributes:
        kind: of the values, as in the probe.
        accepted: whether the server accepts the inputs by default.
        inputs: the inputs, in words.
        keras: the answer of Keras.
        runtime: the answer of the runtime.
        count: probes of this kind that differ.
    """

    kind: str
    accepted: bool
    inputs: list[str]
    keras: str
    runtime: str
    count: int = 1


@dataclass
class Result:
    """What was found for one case.

    Attributes:
        subject: as in the case.
        variant: as in the case.
        verdict: the summary.
        cause: why it is rejected or needs TensorFlow.
        in_custom_layer: whether the operation was tried in a custom layer, because Keras cannot save it otherwise.
        wrong: where ONNX Runtime differs from Keras.
        unaccepted: the same for inputs that the server rejects by default: empty axes, NaN and infinity.
        tensorflow: where TensorFlow's serving differs from Keras.
        tensorflow_operations: types of operations in the SavedModel.
        onnx_operations: types of operations in the ONNX file.
        rewrites: the TensorFlow operations that the converter rewrites.
        seconds: the case took.
    """

    subject: str
    variant: str
    verdict: Verdict = Verdict.FAILED
    cause: str = ""
    in_custom_layer: bool = False
    wrong: list[Difference] = field(default_factory=list)
    unaccepted: list[Difference] = field(default_factory=list)
    tensorflow: list[Difference] = field(default_factory=list)
    tensorflow_operations: list[str] = field(default_factory=list)
    onnx_operations: list[str] = field(default_factory=list)
    rewrites: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """As of the case."""
        return f"{self.subject} [{self.variant}]"

    @classmethod
    def read(cls, fields: dict[str, Any]) -> Result:
        """From the form in the file."""
        differences = {
            name: [Difference(**each) for each in fields[name]] for name in ("wrong", "unaccepted", "tensorflow")
        }
        return cls(**{**fields, **differences, "verdict": Verdict(fields["verdict"])})


def read(file: Path) -> list[Result]:
    """The results of an earlier run; none if there is no file."""
    return [Result.read(each) for each in json.loads(file.read_text())] if file.exists() else []


def write(file: Path, found: Iterable[Result]) -> None:
    """Write results, one per line, in the order of their names, without the times, which differ in every run."""
    lines = [json.dumps({**asdict(each), "seconds": 0.0}) for each in sorted(found, key=lambda each: each.name)]
    file.write_text("[\n" + ",\n".join(lines) + "\n]\n")
