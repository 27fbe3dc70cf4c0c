"""Processes that a benchmark starts. Each has a log, and ends with the benchmark in all cases."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 20


class Process:
    """A Python program that reads and writes lines."""

    def __init__(
        self, arguments: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._arguments = arguments
        self._log = log
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The pid of the running process."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    async def start(self) -> None:
        """Start the process without waiting."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", sys.executable),
                *self._arguments,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # an interrupt in the terminal is for the benchmark, which then stops it
            )

    async def stop(self) -> None:
        """Terminate the process, and kill it if it does not end."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def line(self) -> str:
        """The next line that the process prints.

        Raises:
            RuntimeError: the process ended; with the end of its log.
        """
        assert self._process is not None, "it was not started"
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(self.log_tail())
        return line.decode().strip()

    def say(self, line: str) -> None:
        """Write a line to the process."""
        assert self._process is not None, "it was not started"
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def log_tail(self) -> str:
        """The command and the end of its log."""
        log = self._log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join([f"{self._arguments[0]} {self._arguments[1]} ended:", *log])

    def has_ended(self) -> bool:
        """Whether the process is not running."""
        return self._process is None or self._process.returncode is not None

    def resident_mb(self) -> float:
        """The maximum resident memory of the process in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6  # type: ignore[index]

    def cpu_seconds(self) -> float:
        """Processor time of the process in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def free_port() -> int:
    """A free loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
