"""Where the server is in its life, which is what readiness tells."""

from __future__ import annotations

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

    def become(self, state: State, reason: str) -> None:
        """Enter a state."""
        self.state = state
        self.reason = reason

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
