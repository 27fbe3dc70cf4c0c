"""The work queue: each key at most once, one worker per key at a time, backoff after failures, delayed entries."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF = 0.2
LONGEST_BACKOFF = 60.0
# Spreads retries that would otherwise come at the same moment.
JITTER = 0.2


class WorkQueue(Generic[K]):
    """Keys to process. For use from one event loop."""

    def __init__(self) -> None:
        self._ready: deque[K] = deque()
        self._since: dict[K, float] = {}
        self._busy: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        """Keys that wait to be processed."""
        return len(self._since)

    def add(self, key: K) -> None:
        """Add a key; a key that is being processed enters the queue again afterwards."""
        if key in self._since:
            return
        self._cancel_timer(key)
        self._since[key] = _now()
        if key not in self._busy:
            self._push(key)

    def add_later(self, key: K, seconds: float) -> None:
        """Add a key after some seconds, unless it enters the queue earlier."""
        if key in self._since:
            return
        due = _now() + seconds
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= due:
            return
        self._cancel_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self.add, key)

    async def get(self) -> tuple[K, float]:
        """Wait for a key; returns it with the seconds that it waited. Call `done` or `requeue` when it is processed."""
        while not self._ready:
            self._arrived.clear()
            await self._arrived.wait()
        key = self._ready.popleft()
        self._busy.add(key)
        return key, _now() - self._since.pop(key)

    def done(self, key: K, again: float | None = None) -> None:
        """The key is processed; it enters the queue again after `again` seconds, or when it is added."""
        self._failures.pop(key, None)
        self._release(key)
        if again is not None:
            self.add_later(key, again)

    def requeue(self, key: K, retry_after: float | None = None) -> float:
        """Processing failed: the key enters the queue again after a pause. Returns the pause in seconds.

        Args:
            key: the key that was processed.
            retry_after: seconds that the server asked to wait; without it the pause doubles with every failure.
        """
        if retry_after is not None:
            pause = retry_after * random.uniform(1, 1 + 2 * JITTER)  # noqa: S311 - not a secret
        else:
            count = self._failures[key] = self._failures.get(key, 0) + 1
            pause = jittered(min(FIRST_BACKOFF * 2 ** min(count - 1, 30), LONGEST_BACKOFF))
        self._release(key)
        self.add_later(key, pause)
        return pause

    def _release(self, key: K) -> None:
        self._busy.discard(key)
        if key in self._since:
            self._push(key)

    def _push(self, key: K) -> None:
        self._ready.append(key)
        self._arrived.set()

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()


def jittered(seconds: float) -> float:
    """A random time that differs from `seconds` by up to a fifth."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret


def _now() -> float:
    return asyncio.get_running_loop().time()
