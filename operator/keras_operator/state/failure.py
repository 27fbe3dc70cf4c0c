"""A failure: what went wrong at which step, for people, and whether trying again can help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keras_api.reasons import REASON_DOCS, Reason

# Longer texts are for logs.
MAX_MESSAGE = 1024

Step = Literal["resolve", "prepare", "serve"]


@dataclass(frozen=True)
class Failure:
    """Something that keeps the model from being served as wished."""

    step: Step
    reason: Reason
    message: str
    revision: str = ""
    exit_code: int | None = None
    final: bool = False
    """Whether nothing is tried again until a human changes something."""

    def __post_init__(self) -> None:
        if len(self.message) > MAX_MESSAGE:
            object.__setattr__(self, "message", f"{self.message[:MAX_MESSAGE]} ... (cut)")


def needs_human(reason: Reason) -> bool:
    """Whether the same inputs would fail again."""
    doc = REASON_DOCS.get(reason)
    return doc is not None and doc.is_terminal
