"""File locks between processes and clones: held while a `with` block runs, released when the holder dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cluster.console import ClusterError, clock, say
from cluster.paths import CLONE

POLL_SECONDS = 0.5
# How often who waits says so; a build of Kubernetes, the longest that is waited for, takes ten minutes.
REMIND_SECONDS = 60
LIMIT_SECONDS = 3600


@contextmanager
def hold(path: Path, waiting_for: str) -> Iterator[None]:
    """Hold the lock file `path`; when another process has it, say what this one waits for and for whom, and wait.

    Raises ClusterError after an hour: a holder that dies lets go, but one that hangs does not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _acquire(file, path, waiting_for)
        _sign(file, f"process {os.getpid()} of {CLONE}")
        try:
            yield
        finally:
            _sign(file, "")


def _acquire(file: TextIO, path: Path, waiting_for: str) -> None:
    began = time.monotonic()
    told, said = "", began
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return
        now = time.monotonic()
        file.seek(0)
        waits = f"waiting for {waiting_for}, by {file.read() or 'an unknown process'} (lock {path})"
        if now - began > LIMIT_SECONDS:
            raise ClusterError(f"{waits} for {clock(now - began)} minutes: look at it, and end it if it hangs")
        if waits != told or now - said > REMIND_SECONDS:
            say(waits if not told else f"still {waits}, {clock(now - began)} minutes by now")
            told, said = waits, now
        time.sleep(POLL_SECONDS)


def _sign(file: TextIO, holder: str) -> None:
    """Write into the lock file who holds it."""
    file.truncate(0)
    file.write(holder)
    file.flush()
