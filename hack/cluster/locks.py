"""File locks between processes and clones: held while a `with` block runs, released when the holder dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.console import say


@contextmanager
def hold(path: Path, waiting_for: str) -> Iterator[None]:
    """Hold the lock file `path`; when another process has it, say what this one waits for, and wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for {waiting_for} (lock {path})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
