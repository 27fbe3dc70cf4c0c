"""Mounts of pods and images: found in the kernel's table, and unmounted from the innermost one."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from cluster.commands import attempt
from cluster.console import ClusterError


def below(folders: Iterable[Path]) -> list[Path]:
    """Mount points in `folders`, innermost first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        path = Path(line.split()[4].encode().decode("unicode_escape"))
        if any(path.is_relative_to(folder) for folder in folders):
            found.append(path)
    return found[::-1]


def undo(folders: Iterable[Path]) -> None:
    """Unmount everything below `folders`. A busy mount is detached, and ends with its last user."""
    folders = list(folders)
    for path in below(folders):
        if not attempt(["umount", path], timeout=20):
            attempt(["umount", "--lazy", path], timeout=20)
    if left := below(folders):
        raise ClusterError(f"{len(left)} mounts of an earlier cluster cannot be unmounted, the first is {left[0]}")


def remove(folder: Path) -> None:
    """Remove a folder with its content, but never through a mount."""
    undo([folder])
    if folder.exists():
        shutil.rmtree(folder)
