"""Times as Kubernetes writes them: UTC, whole seconds."""

from __future__ import annotations

from datetime import datetime, timedelta


def written(time: datetime) -> str:
    """Such as ``2026-11-22T07:30:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str) -> datetime:
    """The time that Kubernetes wrote, in UTC."""
    return datetime.fromisoformat(text)


def seconds_until(then: datetime, now: datetime) -> float:
    """Seconds from now to then, at least a little, for a timer."""
    return max((then - now).total_seconds(), 0.1)


def later(time: datetime, seconds: float) -> datetime:
    """A time some seconds after another."""
    return time + timedelta(seconds=seconds)
