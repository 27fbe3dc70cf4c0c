"""An event loop with a clock of its own: time passes only when a test advances it, so nothing really waits."""

from __future__ import annotations

import asyncio
import selectors
from datetime import datetime, timedelta
from typing import Any

# Differences below this are rounding errors of the timers.
RESOLUTION = 1e-6


class _NoSelector(selectors.SelectSelector):
    """Waits for nothing, and tells the loop when it has nothing left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: VirtualTimeLoop | None = None

    def select(self, timeout: float | None = None) -> list[Any]:
        if self.loop is not None and (timeout is None or timeout > RESOLUTION):
            self.loop.next_timer = timeout
            self.loop.stop()
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop for coroutines that use neither the network nor threads."""

    def __init__(self, epoch: datetime) -> None:
        self._seconds = 0.0
        self._epoch = epoch
        self.next_timer: float | None = None
        """Seconds until the next timer; None without one. Valid while the loop is idle."""
        selector = _NoSelector()
        super().__init__(selector)
        selector.loop = self
        self._errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self._errors.append(context))

    def time(self) -> float:
        return self._seconds

    def now(self) -> datetime:
        """The date and time."""
        return self._epoch + timedelta(seconds=self._seconds)

    def run_until_idle(self) -> None:
        """Run until every task waits for a timer, or for something that does not come by itself."""
        self.run_forever()
        for context in self._errors:
            raise context.get("exception") or AssertionError(context["message"])

    def advance(self, seconds: float) -> None:
        """Let time pass up to the next timer, but no longer than some seconds. The loop must be idle."""
        pause = seconds if self.next_timer is None else min(seconds, self.next_timer)
        self._seconds += pause
        if self.next_timer is not None:
            self.next_timer -= pause
