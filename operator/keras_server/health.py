"""The state of the server, which its readiness follows."""

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


TRANSITIONS: dict[State, frozenset[State]] = {
    State.LOADING: frozenset({State.LOADING, State.FAILED, State.READY, State.DRAINING}),
    State.FAILED: frozenset({State.DRAINING}),
    State.READY: frozenset({State.DRAINING}),
    State.DRAINING: frozenset(),
}
"""The states that may follow each state. LOADING follows itself with another reason."""


class Health:
    """The state, and the reason for it in one sentence."""

    def __init__(self) -> None:
        self.state = State.LOADING
        self.reason = "the server is starting"
        self._settled = asyncio.Event()

    def become(self, state: State, reason: str) -> bool:
        """Enter a state, if it may follow the present one.

        Returns:
            Whether the state was entered. A model that has loaded, or failed to, does not end a drain that began
            meanwhile.
        """
        if state not in TRANSITIONS[self.state]:
            return False
        self.state = state
        self.reason = reason
        if state is not State.LOADING:
            self._settled.set()
        return True

    async def settle(self, seconds: float) -> None:
        """Wait while the server is loading, for at most so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()

    def require_ready(self) -> None:
        """Check that new requests should come to this server.

        Raises:
            NotReadyError: with the state and its reason.
        """
        if self.state is not State.READY:
            raise self.not_ready()

    def require_serving(self) -> None:
        """Check that a request can be answered. A server that drains still answers.

        Raises:
            NotReadyError: with the state and its reason.
        """
        if self.state not in (State.READY, State.DRAINING):
            raise self.not_ready()

    def not_ready(self) -> NotReadyError:
        """The state and its reason, as an error."""
        return NotReadyError(f"{self.state}: {self.reason}")
