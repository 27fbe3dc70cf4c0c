"""CPU and memory limits of the container are read from both versions of cgroups."""

from __future__ import annotations

import os

import pytest

from keras_api.limits import cpu_limit, memory_limit

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def cgroup(tmp_path):
    def cgroup(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return cgroup


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, CORES),
        ({"cpu.max": "max 100000\n"}, CORES),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, min(CORES, 2)),
        ({"cpu.max": "6400000 100000\n"}, min(CORES, 64)),
        ({"cpu.max": "nonsense\n"}, CORES),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ({"cpu/cpu.cfs_quota_us": "20000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "0\n"}, CORES),
    ],
)
def test_the_number_of_cpus_is_the_limit_or_that_of_the_machine(files, cores, cgroup):
    assert cpu_limit(cgroup(files)) == cores


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({}, None),
        ({"memory.max": "max\n"}, None),
        ({"memory.max": "1073741824\n"}, 1 << 30),
        ({"memory/memory.limit_in_bytes": "1073741824\n"}, 1 << 30),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
    ],
)
def test_the_memory_limit_is_read_if_there_is_one(files, size, cgroup):
    assert memory_limit(cgroup(files)) == size
