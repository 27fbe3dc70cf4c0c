"""One figure of a benchmark."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A figure, what it should reach (at most; None where there is no such thing), and the rounds that it is from."""

    name: str
    value: float
    reach: float | None
    unit: str
    rounds: list[float]

    @property
    def holds(self) -> bool:
        """Whether it is within reach."""
        return self.reach is None or self.value <= self.reach

    def as_dict(self) -> dict[str, Any]:
        """As results.json has it."""
        return {**asdict(self), "holds": self.holds}
