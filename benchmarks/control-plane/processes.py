"""Processes that a benchmark starts: each has a log, and ends with the benchmark however that ends."""

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
    """A Python program beside this one; it reads and writes lines."""

    def __init__(
        self, arguments: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._arguments = arguments
        self._log = log
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    async def start(self) -> None:
        """Start it, and do not wait for anything."""
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
        """Ask it to end, and see that it does."""
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
        """The next line that it prints.

        Raises:
            RuntimeError: it ended; with its last words.
        """
        assert self._process is not None, "it was not started"
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(self.last_words())
        return line.decode().strip()

    def say(self, line: str) -> None:
        """Write a line to it."""
        assert self._process is not None, "it was not started"
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def last_words(self) -> str:
        """What it is, and the end of its log."""
        log = self._log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join([f"{self._arguments[0]} {self._arguments[1]} ended:", *log])

    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process is None or self._process.returncode is not None

    def resident_mb(self) -> float:
        """The most resident memory that it ever had, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6  # type: ignore[index]

    def cpu_seconds(self) -> float:
        """Processor time that it has used."""
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
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
