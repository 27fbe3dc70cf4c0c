"""Repeating what may pass by itself: a few times, with growing pauses."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keras_api.log_events import LogEvent
from keras_api.logs import fields
from keras_store.errors import StorageError, StorageErrorKind

log = logging.getLogger(__name__)

ATTEMPTS = 5
# To be silent takes a storage long enough: whoever waits should hear of it after a minute.
SILENCES = 2

T = TypeVar("T")


async def retrying(
    operation: Callable[[], Awaitable[T]],
    *,
    attempts: int = ATTEMPTS,
    first_pause: float = 0.5,
    longest_pause: float = 8.0,
    event: LogEvent = LogEvent.TRANSFER_RETRY,
) -> T:
    """The operation's result. Transient storage errors are repeated (silence once only), the last one is raised.

    Args:
        operation: what to do; it starts from the beginning each time.
        attempts: how often at most.
        first_pause: seconds before the second attempt, give or take half; doubled each time.
        longest_pause: seconds.
        event: what a log line about a failed attempt is called.
    """
    silences = 0
    for attempt in range(1, attempts + 1):
        try:
            return await operation()
        except StorageError as error:
            silences += error.kind is StorageErrorKind.TIMEOUT
            if not error.transient or attempt == attempts or silences == SILENCES:
                raise
            # Jitter, so that the pods of one Deployment do not come back all at once.
            pause = min(first_pause * 2 ** (attempt - 1), longest_pause) * random.uniform(0.5, 1.5)  # noqa: S311
            log.warning(
                "retrying in %.1f s (attempt %d failed): %s",
                pause,
                attempt,
                error.message,
                extra=fields(event=event, cause=error.message),
            )
            await asyncio.sleep(pause)
    raise AssertionError("attempts must be at least 1")
