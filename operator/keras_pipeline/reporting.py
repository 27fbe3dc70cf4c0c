"""Tells the operator how the step ended: the step report, in the pod's termination message."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from keras_api.report import TERMINATION_MESSAGE_PATH, StepReport, encode_report


def publish(report: StepReport) -> None:
    """Write the report where the kubelet looks for it.

    Outside of a pod there is no such file, and none is made: whoever runs the step by hand has stderr and the bundle.
    """
    given = os.environ.get("TERMINATION_MESSAGE_PATH")
    path = Path(given or TERMINATION_MESSAGE_PATH)
    if not given and not path.exists():
        return
    try:
        path.write_bytes(encode_report(report))
    except OSError as error:
        print(f"warning: the step report cannot be written to {path}: {error}", file=sys.stderr)  # noqa: T201
