"""File locks between processes and clones. The lock is held during a `with` block, and released if the holder dies."""

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
# Interval of the messages while waiting. The longest holder, a build of Kubernetes, takes ten minutes.
REMIND_SECONDS = 60
LIMIT_SECONDS = 3600


@contextmanager
def hold(path: Path, waiting_for: str) -> Iterator[None]:
    """Hold the lock file `path`. If another process holds it, wait, and report the holder and `waiting_for`.

    Raises ClusterError after an hour: a holder that dies releases the lock, but a holder that hangs does not.
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
    reported, reported_at = "", began
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
            raise ClusterError(f"{waits} for {clock(now - began)} minutes: check that process, and end it if it hangs")
        if waits != reported or now - reported_at > REMIND_SECONDS:
            say(waits if not reported else f"still {waits}, for {clock(now - began)} minutes")
            reported, reported_at = waits, now
        time.sleep(POLL_SECONDS)


def _sign(file: TextIO, holder: str) -> None:
    """Write the holder into the lock file."""
    file.truncate(0)
    file.write(holder)
    file.flush()
