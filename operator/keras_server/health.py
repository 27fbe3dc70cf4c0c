"""Where the server is in its life, which is what readiness tells."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import StrEnum

from keras_server.errors import NotReadyError


class State(StrEnum):
    """States of the server, in their order."""

    LOADING = "loading"
    FAILED = "failed"
    READY = "ready"
    DRAINING = "draining"


class Health:
    """The state, and the reason for it in one sentence."""

    def __init__(self) -> None:
        self.state = State.LOADING
        self.reason = "the server is starting"
        self._settled = asyncio.Event()

    def become(self, state: State, reason: str) -> None:
        """Enter a state."""
        self.state = state
        self.reason = reason
        if state is not State.LOADING:
            self._settled.set()

    async def settle(self, seconds: float) -> None:
        """Wait while the server is loading, for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()

    def require_ready(self) -> None:
        """See that new work should be sent here.

        Raises:
            NotReadyError: with the reason.
        """
        if self.state is not State.READY:
            raise self.not_ready()

    def require_serving(self) -> None:
        """See that a request can be answered; a server that drains still answers what reaches it.

        Raises:
            NotReadyError: with the reason.
        """
        if self.state not in (State.READY, State.DRAINING):
            raise self.not_ready()

    def not_ready(self) -> NotReadyError:
        """The state and its reason, as an answer."""
        return NotReadyError(f"{self.state}: {self.reason}")
