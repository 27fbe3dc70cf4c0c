"""One cgroup that contains every process of the cluster, so that no process is identified by its name or pid."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from cluster.components import CGROUP
from cluster.console import ClusterError

ROOT = Path("/sys/fs/cgroup")


def create() -> None:
    """Create the cgroup in every hierarchy, because the kubelet requires it."""
    for hierarchy in _hierarchies():
        folder = hierarchy / CGROUP
        folder.mkdir(exist_ok=True)
        # On cgroup v1, a new cpuset is empty.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (folder / file).exists() and not (folder / file).read_text().strip():
                (folder / file).write_text((hierarchy / file).read_text())
    _daemons().mkdir(exist_ok=True)


def entrance() -> Path:
    """The file to which a new process of the cluster writes 0 to enter the cgroup with its children."""
    return _daemons() / "cgroup.procs"


def members() -> list[int]:
    """The pids of all processes of the cluster: components, shims, and what runs in pods.

    Raises ClusterError if some processes are outside of the container that this program runs in.
    """
    found: list[int] = []
    for file in _tracking().rglob("cgroup.procs"):
        try:
            found += map(int, file.read_text().split())
        except OSError:
            continue  # the cgroup was removed in the meantime
    if 0 in found:  # the kernel shows a process of an outer pid namespace as 0
        raise ClusterError("a cluster runs outside of this container, which shares its cgroups: stop it there")
    return found


def kill_all(timeout: float = 20) -> None:
    """Kill every process of the cluster. Raises ClusterError if some still exist after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while alive := [pid for pid in members() if not _is_zombie(pid)]:
        if time.monotonic() > deadline:
            raise ClusterError(f"processes of the cluster do not end: {alive}; inspect them with ps")
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def remove() -> None:
    """Remove the cgroups. A cgroup with a process that has not ended yet is kept, and the next start uses it."""
    for hierarchy in _hierarchies():
        top = hierarchy / CGROUP
        for folder in [*sorted((path for path in top.rglob("*/") if path.is_dir()), reverse=True), top]:
            for _ in range(20):  # a killed process can take a moment to leave
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)
                else:
                    break


def _hierarchies() -> Iterable[Path]:
    """The mounted hierarchies: one on cgroup v2, one per controller on v1."""
    if (ROOT / "cgroup.procs").exists():
        return [ROOT]
    return [
        folder for folder in sorted(ROOT.iterdir()) if (folder / "cgroup.procs").exists() and not folder.is_symlink()
    ]


def _tracking() -> Path:
    """The hierarchy that determines membership: no container runtime moves processes out of the cgroup there."""
    for hierarchy in (ROOT / "unified", ROOT, ROOT / "pids"):
        if (hierarchy / "cgroup.procs").exists():
            return hierarchy / CGROUP
    raise ClusterError("no cgroup hierarchy is mounted under /sys/fs/cgroup")


def _daemons() -> Path:
    # A separate leaf, because a cgroup with children cannot contain processes on cgroup v2.
    return _tracking() / "daemons"


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
