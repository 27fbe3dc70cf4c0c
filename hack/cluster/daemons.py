"""Components as processes that outlive this program: started into the cluster's cgroup, found again by pid files."""

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
    """A component: its name, its command line, and what its environment has besides ours."""

    name: str
    command: Command
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """Where it writes."""
        return LOGS / f"{self.name}.log"

    def start(self) -> bool:
        """Start it unless it runs; whether that was needed."""
        if self.running():
            return False
        PIDS.mkdir(parents=True, exist_ok=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # The shell enters the cgroup and becomes the component: it never runs outside.
            process = subprocess.Popen(
                ["/bin/sh", "-c", 'echo 0 >"$0" && exec "$@"', str(cgroups.entrance()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
                cwd="/",
                start_new_session=True,
            )
        process.returncode = 0  # it outlives us: no warning that nobody waited for it
        (PIDS / self.name).write_text(f"{process.pid} {started(process.pid)}")
        return True

    def pid(self) -> int | None:
        """Its process, unless that ended. A pid that now names another process does not deceive: start times differ."""
        try:
            pid, start = (PIDS / self.name).read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if started(int(pid)) == start else None

    def running(self) -> bool:
        """Whether its process lives."""
        return self.pid() is not None

    def require(self) -> None:
        """Raise ClusterError with its last words if it ended."""
        if not self.running():
            last = self.log.read_text(errors="replace").splitlines()[-8:] if self.log.exists() else []
            raise ClusterError(f"{self.name} ended, see {self.log}:\n  " + "\n  ".join(last))


def started(pid: int) -> str:
    """When `pid` started, in ticks since the boot; empty when it has ended, even if nobody collected it yet."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
