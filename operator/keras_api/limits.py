"""CPU and memory limits of the container, read from the cgroup file system (version 1 or 2)."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Mount point of the cgroup file system. Inside a container its root is the container's own group."""


def cpu_limit(cgroup: Path = CGROUP) -> int:
    """Number of usable CPUs, from the quota and the affinity mask: at least 1. A limit of 1.5 CPUs counts as 2."""
    present = len(os.sched_getaffinity(0))
    quota = _numbers(cgroup / "cpu.max") or (
        *_numbers(cgroup / "cpu/cpu.cfs_quota_us"),
        *_numbers(cgroup / "cpu/cpu.cfs_period_us"),
    )
    if len(quota) == 2 and min(quota) > 0:  # in version 1 a quota of -1 is no limit
        return max(1, min(present, math.ceil(quota[0] / quota[1])))
    return present


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Memory limit in bytes; None without a limit."""
    for file in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        # In version 1 a number near 2**63 is no limit.
        if (numbers := _numbers(file)) and numbers[0] < 2**60:
            return numbers[0]
    return None


def _numbers(file: Path) -> tuple[int, ...]:
    """Integers in a cgroup file; none if it does not exist or contains "max"."""
    try:
        return tuple(int(word) for word in file.read_text().split())
    except (OSError, ValueError):
        return ()
