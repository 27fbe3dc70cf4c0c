"""An event loop with a clock of its own: time passes only when a test advances it, so nothing really waits."""

from __future__ import annotations

import asyncio
import selectors
from datetime import datetime, timedelta
from typing import Any

# The event loop runs a timer that is due within this time, in seconds.
RESOLUTION = 1e-9

# Far more than any test needs until all tasks wait.
MOST_ROUNDS = 2000


class _NoSelector(selectors.SelectSelector):
    """Waits for nothing, and tells the loop when it has nothing left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: VirtualTimeLoop | None = None
        self.rounds = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.rounds += 1
        idle = timeout is None or timeout > RESOLUTION
        if self.loop is not None and (idle or self.rounds > MOST_ROUNDS):
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
        self._selected = _NoSelector()
        super().__init__(self._selected)
        self._selected.loop = self
        self._errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self._errors.append(context))

    def time(self) -> float:
        return self._seconds

    def now(self) -> datetime:
        """The date and time."""
        return self._epoch + timedelta(seconds=self._seconds)

    def run_until_idle(self) -> None:
        """Run until every task waits for a timer, or for something that does not come by itself."""
        self._selected.rounds = 0
        self.run_forever()
        assert self._selected.rounds <= MOST_ROUNDS, "the tasks never wait"
        for context in self._errors:
            raise context.get("exception") or AssertionError(context["message"])

    def advance(self, seconds: float) -> None:
        """Let time pass up to the next timer, but no longer than some seconds. The loop must be idle."""
        pause = seconds if self.next_timer is None else min(seconds, self.next_timer)
        self._seconds += pause
        if self.next_timer is not None:
            self.next_timer -= pause
