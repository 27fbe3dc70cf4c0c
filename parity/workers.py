"""Processes that try cases: a case that does not end, or ends its process, costs one result and not the run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Self

from parity.results import Result, Verdict

# TensorFlow keeps memory of every graph, so a process is replaced after this many cases.
CASES_PER_PROCESS = 150
ROOT = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-m", "parity.worker")


class Pool:
    """Worker processes, each with one case at a time.

    Args:
        size: number of processes.
        seconds: a case may take.
        command: starts a worker.
    """

    def __init__(self, size: int, seconds: float, command: Sequence[str] = COMMAND) -> None:
        self._size, self._seconds, self._command = size, seconds, command
        self._processes: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stopped = True
        for process in list(self._processes):
            process.kill()

    def map(self, names: Iterable[str]) -> Iterator[Result]:
        """The results of the cases, in the order in which they end."""
        pending: Queue[str] = Queue()
        done: Queue[Result] = Queue()
        count = 0
        for name in names:
            pending.put(name)
            count += 1
        for _ in range(self._size):
            threading.Thread(target=self._serve, args=(pending, done), daemon=True).start()
        for _ in range(count):
            yield done.get()

    def _serve(self, pending: Queue[str], done: Queue[Result]) -> None:
        process: subprocess.Popen[str] | None = None
        cases = 0
        while not self._stopped:
            try:
                name = pending.get_nowait()
            except Empty:
                break
            if process is None:
                process, cases = self._start(), 0
            result = self._ask(process, name)
            cases += 1
            if process.poll() is not None or cases >= CASES_PER_PROCESS:
                self._end(process)
                process = None
            done.put(result)
        if process is not None:
            self._end(process)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._processes.add(process)
        return process

    def _end(self, process: subprocess.Popen[str]) -> None:
        with process:  # closes its pipes and waits
            process.kill()
        self._processes.discard(process)

    def _ask(self, process: subprocess.Popen[str], name: str) -> Result:
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(self._seconds, process.kill)
        timer.start()
        line = ""
        with contextlib.suppress(BrokenPipeError):
            print(name, file=process.stdin, flush=True)
            line = process.stdout.readline()
        expired = not timer.is_alive()
        timer.cancel()
        if line.endswith("\n"):
            return Result.read(json.loads(line))
        process.wait()
        subject, _, variant = name.partition(" [")
        cause = f"no answer within {self._seconds:g} s" if expired else f"the process ended ({process.returncode})"
        return Result(subject, variant.removesuffix("]"), Verdict.FAILED, cause)


def encode(result: Result) -> str:
    """A result as the line of a worker."""
    return json.dumps(asdict(result))
