"""The CPU limit is read from either version of cgroups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keras_server.cpus import available_cpus

PRESENT = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, PRESENT),
        ({"cpu.max": "max 100000\n"}, PRESENT),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "110000 100000\n"}, min(2, PRESENT)),
        ({"cpu.max": "10000000 100000\n"}, PRESENT),
        ({"cpu.max": "nonsense\n"}, PRESENT),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, PRESENT),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "0\n"}, PRESENT),
    ],
)
def test_the_limit_counts_when_it_is_less_than_what_is_there(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)

    assert available_cpus(tmp_path) == cpus
