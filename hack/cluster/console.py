"""Output for the user: progress lines with the elapsed time, and the error that ends a run."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STARTED = time.monotonic()


class ClusterError(Exception):
    """An error message for the user with the cause and the remedy."""


def clock(seconds: float) -> str:
    """Elapsed `seconds` as `m:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def say(text: str) -> None:
    """Print one line with the elapsed time to standard error. Standard output is for results."""
    print(f"[{clock(time.monotonic() - _STARTED)}] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print the start of a step, and its duration if it is at least two seconds."""
    say(text)
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    if took >= 2:
        say(f"{text}: done in {took:.0f} s")
