"""Times as Kubernetes writes them: UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """The present time, in UTC."""
    return datetime.now(UTC)


def written(time: datetime) -> str:
    """A time as text, such as ``2026-11-22T07:30:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str) -> datetime:
    """A time in the text of an object, in UTC."""
    return datetime.fromisoformat(text)


def seconds_until(then: datetime, now: datetime) -> float:
    """Seconds from now to then for a timer, at least 0.1."""
    return max((then - now).total_seconds(), 0.1)


def later(time: datetime, seconds: float) -> datetime:
    """The time some seconds after another."""
    return time + timedelta(seconds=seconds)
