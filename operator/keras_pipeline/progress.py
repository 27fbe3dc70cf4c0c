"""Progress lines on stderr, with the seconds since the step began."""

from __future__ import annotations

import sys
import time


class Progress:
    """Says what the step is at: ``[  3.2s] converting to ONNX``."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print one line."""
        print(f"[{self.seconds:5.1f}s] {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is the step's voice

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._began
