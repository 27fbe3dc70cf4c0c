"""One cgroup that holds every process of the cluster: who belongs to it is then a fact, not a guess by name or pid."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from cluster.components import CGROUP
from cluster.console import ClusterError

ROOT = Path("/sys/fs/cgroup")


def create() -> None:
    """Make our cgroup in every hierarchy, for the kubelet wants it to be there."""
    for hierarchy in _hierarchies():
        folder = hierarchy / CGROUP
        folder.mkdir(exist_ok=True)
        # On cgroup v1 a new cpuset may use nothing until told otherwise.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (folder / file).exists() and not (folder / file).read_text().strip():
                (folder / file).write_text((hierarchy / file).read_text())
    _daemons().mkdir(exist_ok=True)


def entrance() -> Path:
    """The file to which a new process of the cluster writes 0, to be in the cgroup with all that it starts."""
    return _daemons() / "cgroup.procs"


def members() -> list[int]:
    """The pids of all processes of the cluster: components, shims, and what runs in pods.

    Raises ClusterError when some are outside of the container that this program runs in: they are not ours to judge.
    """
    found: list[int] = []
    for file in _tracking().rglob("cgroup.procs"):
        try:
            found += map(int, file.read_text().split())
        except OSError:
            continue  # the cgroup went away meanwhile
    if 0 in found:  # the kernel's name for a process of an outer pid namespace
        raise ClusterError("a cluster runs outside of this container, which shares its cgroups: stop it there")
    return found


def kill_all(timeout: float = 20) -> None:
    """End every process of the cluster at once; ClusterError when some live on after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while alive := [pid for pid in members() if not _is_zombie(pid)]:
        if time.monotonic() > deadline:
            raise ClusterError(f"processes of the cluster do not end: {alive}; look at them with ps")
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def remove() -> None:
    """Remove our cgroups. One that still holds a dying process stays, and the next start uses it."""
    for hierarchy in _hierarchies():
        top = hierarchy / CGROUP
        for folder in [*sorted((path for path in top.rglob("*/") if path.is_dir()), reverse=True), top]:
            for _ in range(20):  # a killed process may take a moment to leave
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
    """The hierarchy in which membership is counted: no container runtime moves processes out of our cgroup there."""
    for hierarchy in (ROOT / "unified", ROOT, ROOT / "pids"):
        if (hierarchy / "cgroup.procs").exists():
            return hierarchy / CGROUP
    raise ClusterError("no cgroup hierarchy is mounted under /sys/fs/cgroup")


def _daemons() -> Path:
    # A leaf of its own: on cgroup v2 a cgroup with children may hold no processes.
    return _tracking() / "daemons"


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
