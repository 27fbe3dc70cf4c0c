"""Counts and durations of inference requests since the server started, for the statistics page.

`keras_server.metrics` has histograms for Prometheus; this module has the sums by number of rows that Triton's clients
ask for.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple


class Execution(NamedTuple):
    """One run of the model.

    Attributes:
        rows: number of rows.
        queue_seconds: wait for a worker.
        seconds: that the runtime took.
        output_seconds: that the check of the outputs took.
    """

    rows: int
    queue_seconds: float
    seconds: float
    output_seconds: float


@dataclass
class Duration:
    """How often something happened, and the sum of its durations."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """Count one occurrence."""
        self.count += 1
        self.ns += round(seconds * 1e9)

    def __add__(self, other: Duration) -> Duration:
        """The sum of both."""
        return Duration(self.count + other.count, self.ns + other.ns)


@dataclass
class Batches:
    """Durations of the runs with one number of rows: before the run, in the runtime, and after the run."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)

    def __add__(self, other: Batches) -> Batches:
        """The sum of both."""
        return Batches(
            self.compute_input + other.compute_input,
            self.compute_infer + other.compute_infer,
            self.compute_output + other.compute_output,
        )


class Statistics:
    """Counts requests and runs. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: defaultdict[int, Batches] = defaultdict(Batches)
        self.success = Duration()
        self.fail = Duration()
        self.queue = Duration()
        self.last_inference_ms = 0
        """Time of the last run, in milliseconds since the epoch; 0 before the first one."""

    def observe_request(self, seconds: float, *, success: bool) -> None:
        """Count one request, from its headers to its response."""
        with self._lock:
            (self.success if success else self.fail).add(seconds)

    def observe_input(self, rows: int, seconds: float) -> None:
        """Count the check of the inputs of one run."""
        with self._lock:
            self._batches[rows].compute_input.add(seconds)

    def observe_inference(self, execution: Execution) -> None:
        """Count one run."""
        with self._lock:
            batches = self._batches[execution.rows]
            batches.compute_infer.add(execution.seconds)
            batches.compute_output.add(execution.output_seconds)
            self.queue.add(execution.queue_seconds)
            self.last_inference_ms = time.time_ns() // 1_000_000

    def batches(self) -> dict[int, Batches]:
        """The runs by their number of rows."""
        with self._lock:
            return {rows: self._batches[rows] + Batches() for rows in sorted(self._batches)}
