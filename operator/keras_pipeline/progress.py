"""Progress of a step: log lines with the seconds since it began."""

from __future__ import annotations

import logging
import time

from keras_api.logs import fields

log = logging.getLogger("keras_pipeline")


class Progress:
    """Logs what the step does next."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        """Log one line."""
        log.info(text, extra=fields(seconds=round(self.seconds, 1)))

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._began
