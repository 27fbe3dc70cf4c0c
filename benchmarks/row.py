"""One figure of a benchmark."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A figure, its target (an upper bound, or None), and the figures of the single rounds."""

    name: str
    value: float
    target: float | None
    unit: str
    rounds: list[float]

    @property
    def holds(self) -> bool:
        """Whether the figure meets its target."""
        return self.target is None or self.value <= self.target

    def as_dict(self) -> dict[str, Any]:
        """The row as in results.json."""
        return {**asdict(self), "holds": self.holds}
