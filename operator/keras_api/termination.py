"""The termination message of a container, in which the operator reads the step report."""

from __future__ import annotations

import logging
import os

from keras_api.step_report import StepReport, encode_report

PATH = "/dev/termination-log"
PATH_VARIABLE = "TERMINATION_MESSAGE_PATH"

log = logging.getLogger(__name__)


def publish(report: StepReport) -> None:
    """Write the report to the file that the kubelet reads.

    Outside a pod this file does not exist and is not created: a user who runs a step reads stderr. A file that the
    environment variable names is created.
    """
    named = os.environ.get(PATH_VARIABLE)
    try:
        descriptor = os.open(named or PATH, os.O_WRONLY | os.O_TRUNC | (os.O_CREAT if named else 0), 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode_report(report))
    except OSError as error:
        if named or not isinstance(error, FileNotFoundError):
            log.warning("the step report cannot be written: %s", error)
