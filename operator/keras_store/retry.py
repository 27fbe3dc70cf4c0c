"""Retries of transient storage errors, with exponential backoff."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keras_api.step_report import TRYING_AGAIN
from keras_store.errors import StorageError, StorageErrorKind

log = logging.getLogger(__name__)

ATTEMPTS = 5
MAX_TIMEOUTS = 2
"""A timeout is long: with more of them, a failure would be reported after more than a minute."""

T = TypeVar("T")


async def retrying(
    operation: Callable[[], Awaitable[T]],
    *,
    attempts: int = ATTEMPTS,
    first_pause: float = 0.5,
    longest_pause: float = 8.0,
) -> T:
    """The operation's result, after retries of transient storage errors. The last error is raised.

    Args:
        operation: starts from the beginning in each attempt.
        attempts: maximum number of attempts; `MAX_TIMEOUTS` applies too.
        first_pause: seconds before the second attempt, plus or minus half of it; doubled for each further attempt.
        longest_pause: seconds.
    """
    timeouts = 0
    for attempt in range(1, attempts + 1):
        try:
            return await operation()
        except StorageError as error:
            timeouts += error.kind is StorageErrorKind.TIMEOUT
            if not error.transient or attempt == attempts or timeouts == MAX_TIMEOUTS:
                raise
            # Jitter, so that the pods of one Deployment do not retry at the same time.
            pause = min(first_pause * 2 ** (attempt - 1), longest_pause) * random.uniform(0.5, 1.5)  # noqa: S311
            log.warning("%s in %.1f s (attempt %d failed): %s", TRYING_AGAIN, pause, attempt, error.message)
            await asyncio.sleep(pause)
    raise AssertionError("attempts must be at least 1")
