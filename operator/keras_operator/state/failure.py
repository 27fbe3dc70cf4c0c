"""A failure: the step, the reason and a message, and whether a retry can help."""

from __future__ import annotations

from dataclasses import dataclass

from keras_api.reasons import REASON_DOCS, Reason

# Longer texts belong in logs.
MAX_MESSAGE = 1024


@dataclass(frozen=True)
class Failure:
    """An error that keeps the model from being served as its spec requires."""

    step: str
    """``resolve``, the name of a task, or ``serve``."""
    reason: Reason
    message: str
    revision: str = ""
    exit_code: int | None = None
    final: bool = False
    """Whether manual intervention is required: the operator does not retry."""

    def __post_init__(self) -> None:
        if len(self.message) > MAX_MESSAGE:
            object.__setattr__(self, "message", f"{self.message[:MAX_MESSAGE]} ... (cut)")


def is_terminal(reason: Reason) -> bool:
    """Whether the same inputs would fail again."""
    doc = REASON_DOCS.get(reason)
    return doc is not None and doc.is_terminal
