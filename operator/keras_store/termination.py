"""The termination message: where a container leaves its step report for the operator to read."""

from __future__ import annotations

import logging
import os

from keras_api.reasons import Reason
from keras_api.report import TERMINATION_MESSAGE_PATH, Failure, Step, StepReport, encode_report

log = logging.getLogger(__name__)

PATH_VARIABLE = "TERMINATION_MESSAGE_PATH"


def report_failure(step: Step, revision: str, reason: Reason, message: str) -> None:
    """Write a failed step's report, where there is such a file; outside of a pod there is none."""
    report = StepReport(step=step, revision=revision, failure=Failure(reason=reason, message=message))
    path = os.environ.get(PATH_VARIABLE)
    # The kubelet makes the file. Only one that was asked for by name is made here: never a new file in /dev.
    flags = os.O_WRONLY | os.O_TRUNC | (os.O_CREAT if path else 0)
    try:
        descriptor = os.open(path or TERMINATION_MESSAGE_PATH, flags, 0o644)
    except OSError as error:
        log.debug("no termination message: %s", error)
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(encode_report(report))
