"""What a container may use: CPUs and memory, as the kernel shows its limits in either version of cgroups."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Where the cgroup file system is mounted; inside a container its root is the container's own group."""


def cpu_limit(cgroup: Path = CGROUP) -> int:
    """CPUs that may run at once, from the quota and the affinity mask, at least 1; a limit of 1.5 CPUs counts as 2."""
    present = len(os.sched_getaffinity(0))
    quota = _numbers(cgroup / "cpu.max") or (
        *_numbers(cgroup / "cpu/cpu.cfs_quota_us"),
        *_numbers(cgroup / "cpu/cpu.cfs_period_us"),
    )
    if len(quota) == 2 and min(quota) > 0:  # version 1 says "no limit" by a quota of -1
        return max(1, min(present, math.ceil(quota[0] / quota[1])))
    return present


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Bytes of memory that may be used; None when there is no limit."""
    for file in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        # Version 1 says "no limit" by a number near 2**63.
        if (numbers := _numbers(file)) and numbers[0] < 2**60:
            return numbers[0]
    return None


def _numbers(file: Path) -> tuple[int, ...]:
    """Whole numbers in a cgroup file; none when it is absent or says "max"."""
    try:
        return tuple(int(word) for word in file.read_text().split())
    except (OSError, ValueError):
        return ()
