"""What the process must settle before TensorFlow is imported: devices, threads, log level, and how it ends."""

from __future__ import annotations

import math
import os
import signal
import threading
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
EXIT_ON_SIGTERM = 128 + signal.SIGTERM


def configure() -> None:
    """Set the environment that TensorFlow, Keras and ONNX Runtime read while they are imported.

    Without this TensorFlow starts a thread for every core of the node, not of the pod.
    """
    threads = str(cpu_limit())
    os.environ.update(
        KERAS_BACKEND="tensorflow",
        CUDA_VISIBLE_DEVICES="-1",
        TF_CPP_MIN_LOG_LEVEL="3",
        TF_ENABLE_ONEDNN_OPTS="0",  # the reference is plain arithmetic, and start-up says nothing about it
        TF_NUM_INTRAOP_THREADS=threads,
        TF_NUM_INTEROP_THREADS="1",
        OMP_NUM_THREADS=threads,
        ORT_DISABLE_TELEMETRY="1",  # ONNX Runtime would report to its makers
    )


def cpu_limit(cgroup: Path = CGROUP) -> int:
    """Cores that this process may use, from the cgroup's quota (v2 or v1) and the CPU affinity; at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = _numbers(cgroup / "cpu.max") or (
        *_numbers(cgroup / "cpu/cpu.cfs_quota_us"),
        *_numbers(cgroup / "cpu/cpu.cfs_period_us"),
    )
    if len(quota) == 2 and min(quota) > 0:  # v1 says "no limit" by a quota of -1
        cores = min(cores, math.ceil(quota[0] / quota[1]))
    return max(1, cores)


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Bytes of memory that the cgroup (v2 or v1) allows; None when there is no limit."""
    for file in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        # v1 says "no limit" by a number near 2**63.
        if (numbers := _numbers(file)) and numbers[0] < 2**60:
            return numbers[0]
    return None


def end_on_sigterm() -> None:
    """Let SIGTERM end the process at once, even as PID 1 and while native code runs.

    The kernel ignores a default SIGTERM for PID 1, and a Python handler waits for the main thread to leave TensorFlow:
    so a thread waits for the signal. Call before numpy and TensorFlow start their threads, which inherit the mask.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        os._exit(EXIT_ON_SIGTERM)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()


def _numbers(file: Path) -> tuple[int, ...]:
    """Whole numbers in a cgroup file; none when it is absent or says "max"."""
    try:
        return tuple(int(word) for word in file.read_text().split())
    except (OSError, ValueError):
        return ()
