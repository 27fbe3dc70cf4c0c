"""How many CPUs this process may use: the cgroup's limit and the affinity mask, whichever is less."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_cpus(cgroups: Path = _CGROUPS) -> int:
    """CPUs that may run at once, at least 1; a limit of 1.5 CPUs counts as 2.

    Args:
        cgroups: where the cgroup file system is mounted; inside a container its root is the container's own group.
    """
    present = len(os.sched_getaffinity(0))
    limit = _cgroup_limit(cgroups)
    return present if limit is None else max(1, min(present, math.ceil(limit)))


def _cgroup_limit(cgroups: Path) -> float | None:
    try:  # version 2: "<quota> <period>", or "max <period>"
        quota, period = (cgroups / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:  # version 1: a quota of -1 is no limit
        microseconds = int((cgroups / "cpu/cpu.cfs_quota_us").read_text())
        return microseconds / int((cgroups / "cpu/cpu.cfs_period_us").read_text()) if microseconds > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
