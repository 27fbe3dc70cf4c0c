"""Components as processes that outlive this program: they run in the cluster's cgroup and have pid files."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster import cgroups
from cluster.components import Command
from cluster.console import ClusterError
from cluster.paths import RUN, STATE

PIDS = RUN / "pids"
LOGS = STATE / "log"


@dataclass(frozen=True)
class Daemon:
    """A component: its name, its command line, and additional environment variables."""

    name: str
    command: Command
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """Path of its log."""
        return LOGS / f"{self.name}.log"

    def start(self) -> bool:
        """Start the process if it does not run; returns whether it was started."""
        if self.running():
            return False
        PIDS.mkdir(parents=True, exist_ok=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # The shell enters the cgroup and then becomes the component, which therefore never runs outside.
            process = subprocess.Popen(
                ["/bin/sh", "-c", 'echo 0 >"$0" && exec "$@"', str(cgroups.entrance()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
                cwd="/",
                start_new_session=True,
            )
        process.returncode = 0  # avoids the warning about a child that still runs
        (PIDS / self.name).write_text(f"{process.pid} {started(process.pid)}")
        return True

    def pid(self) -> int | None:
        """The pid, or None if the process has ended. The start time detects a pid that another process reuses."""
        try:
            pid, start = (PIDS / self.name).read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if started(int(pid)) == start else None

    def running(self) -> bool:
        """Whether the process runs."""
        return self.pid() is not None

    def require(self) -> None:
        """Raise ClusterError with the end of the log if the process has ended."""
        if not self.running():
            last = self.log.read_text(errors="replace").splitlines()[-8:] if self.log.exists() else []
            raise ClusterError(f"{self.name} exited, see {self.log}:\n  " + "\n  ".join(last))


def started(pid: int) -> str:
    """Start time of `pid` in ticks since the boot; empty if the process has ended or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
