"""Runs other programs with a timeout. If a program fails, the error contains the end of its output."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cluster.console import ClusterError


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = 60,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run `command` and return its standard output.

    `timeout` is in seconds; `env` is added to the environment of this process. Raises ClusterError with the name of the
    program if it is not installed, fails or does not end in time.
    """
    shown = " ".join(str(word) for word in command[:6])
    try:
        result = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=timeout,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError:
        raise ClusterError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"`{shown} ...` did not end within {timeout:.0f} s") from None
    if result.returncode != 0:
        words = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise ClusterError(f"`{shown} ...` failed ({result.returncode}): " + "\n  ".join(words[-15:]))
    return result.stdout


def attempt(command: Sequence[str | Path], *, timeout: float = 60) -> bool:
    """Run `command`; returns whether it succeeded."""
    try:
        run(command, timeout=timeout)
    except ClusterError:
        return False
    return True


def wait_until(ready: Callable[[], bool], what: str, *, timeout: float, interval: float = 0.1) -> None:
    """Call `ready` every `interval` seconds until it is true; ClusterError with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} within {timeout:.0f} s")
        time.sleep(interval)
