"""The step report: the outcome of a step, in the termination message of its container.

The kubelet keeps 4096 bytes of a termination message. A longer report is shortened, the least important parts first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from keras_api.manifest import Contract, ModelSummary
from keras_api.reasons import Reason

MAX_BYTES = 4096
REPORT_VERSION: Final = 1


class StepFailure(Contract, frozen=True, kw_only=True):
    """Cause of a failed step."""

    reason: Reason
    message: str


class StepReport(Contract, frozen=True, kw_only=True):
    """Outcome of one run of a step: a failure, or the step's result."""

    version: Literal[1] = REPORT_VERSION
    step: str
    revision: str
    fetched_bytes: int | None = None
    """Size of the model file in bytes: the result of fetch."""
    model: ModelSummary | None = None
    """The prepared model: the result of prepare."""
    result: dict[str, Any] | None = None
    """The result of any other step, whose task knows its fields."""
    failure: StepFailure | None = None

    def __post_init__(self) -> None:
        if [self.fetched_bytes, self.model, self.result, self.failure].count(None) != 3:
            raise ValueError("a step report must have exactly one of fetchedBytes, model, result and failure")


class ReportError(ValueError):
    """The termination message is not a valid step report."""


def encode_report(report: StepReport) -> bytes:
    """The report as JSON of at most 4096 bytes: a long message is cut and marked, long lists are truncated."""
    data = b""
    if report.failure is not None:
        # A file name need not be valid text. Replace the characters that cannot be encoded, to keep the rest.
        message = report.failure.message.encode(errors="replace").decode()
        report = replace(report, failure=replace(report.failure, message=message))
    for shorter in _shortenings(report):
        data = msgspec.json.encode({"version": REPORT_VERSION, **msgspec.to_builtins(shorter)})
        if len(data) <= MAX_BYTES:
            return data
    raise ValueError(f"a step report of {len(data)} bytes cannot be shortened to {MAX_BYTES}")


def decode_report(data: bytes | str) -> StepReport:
    """Parse a termination message strictly.

    Raises:
        ReportError: it is not a valid report of a supported version.
    """
    try:
        return msgspec.json.decode(data, type=StepReport)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
        raise ReportError(f"not a step report: {error}") from error


def reported(model: ModelSummary, revision: str) -> ModelSummary:
    """A summary within the limits of a step report, for readers of summaries from other sources.

    Raises:
        ValueError: it cannot be shortened to the limits.
    """
    report = decode_report(encode_report(StepReport(step="prepare", revision=revision, model=model)))
    assert report.model is not None, "it was encoded with one"
    return report.model


def _shortenings(report: StepReport) -> Iterator[StepReport]:
    yield report
    if report.failure is not None:
        # A character takes up to six bytes in JSON (an escape), a kanji three. Try shorter texts in turn.
        for length in (3000, 2000, 1000, 500):
            message = report.failure.message
            if len(message) > length:
                message = f"{message[:length]} ... (cut; the Job's log has the rest)"
                yield replace(report, failure=replace(report.failure, message=message))
    if report.model is not None:
        model = report.model
        rejected = [replace(each, reason=each.reason[:200]) for each in model.rejected_runtimes[:3]]
        model = replace(model, rejected_runtimes=rejected, warnings=[each[:200] for each in model.warnings[:3]])
        yield replace(report, model=model)
        for count in (16, 8, 4, 1):
            model = replace(model, inputs=model.inputs[:count], outputs=model.outputs[:count])
            yield replace(report, model=model)
        model = replace(model, rejected_runtimes=[], warnings=[], metrics={})
        yield replace(report, model=model)
        # Names, shapes and the version come from the user's file and may have any length.
        yield replace(report, model=replace(model, inputs=[], outputs=[], keras_version=model.keras_version[:32]))
