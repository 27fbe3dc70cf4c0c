"""The termination message: where a container leaves its step report for the operator to read."""

from __future__ import annotations

import os
import sys

from keras_api.step_report import StepReport, encode_report

PATH = "/dev/termination-log"
PATH_VARIABLE = "TERMINATION_MESSAGE_PATH"


def publish(report: StepReport) -> None:
    """Write the report where the kubelet looks for it.

    Outside of a pod there is no such file, and none is made: whoever runs a step by hand reads stderr. A file that the
    environment names is made.
    """
    named = os.environ.get(PATH_VARIABLE)
    try:
        descriptor = os.open(named or PATH, os.O_WRONLY | os.O_TRUNC | (os.O_CREAT if named else 0), 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode_report(report))
    except OSError as error:
        if named or not isinstance(error, FileNotFoundError):
            print(f"warning: the step report cannot be written: {error}", file=sys.stderr)  # noqa: T201
