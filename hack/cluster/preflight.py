"""Checks whether this machine can run the cluster. Every failed check is one sentence with a remedy."""

import os
import socket
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.commands import attempt, run
from cluster.console import ClusterError
from cluster.paths import CACHE


def check(ports: Mapping[str, int]) -> None:
    """Raise ClusterError with all failed checks. `ports`: name of the component -> required TCP port."""
    require_root()
    problems = [*missing_capabilities(), *taken(ports)]
    if problems:
        raise ClusterError("; ".join(problems))


def require_root() -> None:
    """Raise ClusterError without root, which a node needs for mounts, devices and cgroups."""
    if os.geteuid() != 0:
        raise ClusterError("the cluster needs root: run it as root, or as `sudo --preserve-env=HOME,PATH make cluster`")


def missing_capabilities() -> Iterable[str]:
    """The missing capabilities of the kernel or the container, as sentences."""
    if not Path("/sys/fs/cgroup").is_dir() or not cgroups_are_writable():
        yield "cgroups are not writable: run on a machine, or in a container with --privileged"
    if not overlayfs_works():
        yield "overlayfs cannot be mounted: use a kernel with overlayfs, and a file system such as ext4 for the cache"
    if not attempt(["iptables", "-w", "10", "-t", "nat", "-S"]):
        yield "iptables cannot use the nat table: the kernel lacks it, or this container lacks CAP_NET_ADMIN"
    if not bridges_work():
        yield "network devices cannot be created: the kernel lacks bridge, or this container lacks CAP_NET_ADMIN"


def cgroups_are_writable() -> bool:
    """Whether a cgroup can be created."""
    root = Path("/sys/fs/cgroup")
    probe = (root / "pids" if (root / "pids").is_dir() else root) / "keras-operator-probe"
    try:
        probe.mkdir(exist_ok=True)
        probe.rmdir()
    except OSError:
        return False
    return True


def overlayfs_works() -> bool:
    """Whether overlayfs can be mounted in the folder of the images."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="overlay-probe-") as folder:
        lower, upper, work, merged = (Path(folder, name) for name in ("lower", "upper", "work", "merged"))
        for path in (lower, upper, work, merged):
            path.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        if not attempt(["mount", "-t", "overlay", "overlay", "-o", options, merged]):
            return False
        run(["umount", merged])
        return True


def bridges_work() -> bool:
    """Whether a bridge device can be created."""
    probe = "keras-probe"
    attempt(["ip", "link", "delete", probe])
    return attempt(["ip", "link", "add", probe, "type", "bridge"]) and attempt(["ip", "link", "delete", probe])


def taken(ports: Mapping[str, int]) -> Iterable[str]:
    """A sentence for every port that another program listens on."""
    for component, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                by = f" by {holder}" if (holder := listener(port)) else ""
                yield f"port {port}, which {component} needs, is in use{by}: stop that program"


def listener(port: int) -> str | None:
    """`name (pid N)` of the process that listens on TCP `port`; None if it is not visible."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(handle.readlink()) in inodes for handle in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue  # the process has ended, or is not accessible
    return None
