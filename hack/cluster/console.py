"""What the user sees: progress lines with elapsed time, and the one error that ends a run with a sentence."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STARTED = time.monotonic()


class ClusterError(Exception):
    """A sentence for the user: what is missing or broken, and the remedy."""


def clock(seconds: float) -> str:
    """Elapsed `seconds` as `m:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def say(text: str) -> None:
    """Print one line with the time since the program started; standard error, for standard output carries answers."""
    print(f"[{clock(time.monotonic() - _STARTED)}] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say what begins, and how long it took when it took more than a moment."""
    say(text)
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    if took >= 2:
        say(f"{text}: done in {took:.0f} s")
