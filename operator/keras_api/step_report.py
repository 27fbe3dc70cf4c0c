"""The step report: what a Job says about its outcome, in the pod's termination message.

The kubelet keeps 4096 bytes of it, so a report that would be longer is shortened where it hurts least.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from keras_api.manifest import Contract, ModelSummary
from keras_api.reasons import Reason

MAX_BYTES = 4096
REPORT_VERSION: Final = 1
DOWNLOADING: Final = "downloading the bundle"
"""What a server's log says last while it gets its bundle: not to be ready is no trouble then, for a while."""
TRYING_AGAIN: Final = "trying again"
"""How a line of its log begins, whose end says what is wrong with the store, after a colon."""

Step = Literal["fetch", "prepare", "put", "get"]


class StepFailure(Contract, frozen=True, kw_only=True):
    """Why a step did not succeed."""

    reason: Reason
    message: str


class StepReport(Contract, frozen=True, kw_only=True):
    """Outcome of one run of one step: a failure, or what fetch and prepare have found out; the others say no more."""

    version: Literal[1] = REPORT_VERSION
    step: Step
    revision: str
    fetched_bytes: int | None = None
    """Size of the model file."""
    model: ModelSummary | None = None
    failure: StepFailure | None = None

    def __post_init__(self) -> None:
        if [self.fetched_bytes, self.model, self.failure].count(None) != 2:
            raise ValueError("a step report has either the bytes fetched, a model or a failure")


class ReportError(ValueError):
    """A termination message that is not a step report."""


def encode_report(report: StepReport) -> bytes:
    """The report as JSON of at most 4096 bytes: a long message is cut and says so, long lists lose their ends."""
    data = b""
    if report.failure is not None:
        # A file's name need not be text; what cannot be encoded must not hide the rest.
        message = report.failure.message.encode(errors="replace").decode()
        report = replace(report, failure=replace(report.failure, message=message))
    for shorter in _shortenings(report):
        data = msgspec.json.encode({"version": REPORT_VERSION, **msgspec.to_builtins(shorter)})
        if len(data) <= MAX_BYTES:
            return data
    raise ValueError(f"a step report of {len(data)} bytes cannot be cut to {MAX_BYTES}")


def decode_report(data: bytes | str) -> StepReport:
    """Parse a termination message strictly.

    Raises:
        ReportError: when it is not a step report of a version known here.
    """
    try:
        return msgspec.json.decode(data, type=StepReport)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
        raise ReportError(f"not a step report: {error}") from error


def reported(model: ModelSummary, revision: str) -> ModelSummary:
    """A summary as a report would bring it: whoever reads it elsewhere keeps to the same limits.

    Raises:
        ValueError: when it cannot be cut to them.
    """
    report = decode_report(encode_report(StepReport(step="prepare", revision=revision, model=model)))
    assert report.model is not None, "it was encoded with one"
    return report.model


def _shortenings(report: StepReport) -> Iterator[StepReport]:
    yield report
    if report.failure is not None:
        # JSON escapes can make a character up to six bytes long (and a kanji three): try shorter and shorter texts.
        for length in (3000, 2000, 1000, 500):
            message = report.failure.message
            if len(message) > length:
                message = f"{message[:length]} ... (cut; the Job's log has the rest)"
                yield replace(report, failure=replace(report.failure, message=message))
    if report.model is not None:
        model = report.model
        model = replace(model, not_taken=[replace(a, reason=a.reason[:200]) for a in model.not_taken[:3]])
        yield replace(report, model=model)
        for count in (16, 8, 4, 1):
            model = replace(model, inputs=model.inputs[:count], outputs=model.outputs[:count])
            yield replace(report, model=model)
        model = replace(model, not_taken=[], metrics={})
        yield replace(report, model=model)
        # Names, shapes and version come from a foreign file and may be of any length.
        yield replace(report, model=replace(model, inputs=[], outputs=[], keras_version=model.keras_version[:32]))
