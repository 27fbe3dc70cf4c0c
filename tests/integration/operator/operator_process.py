"""The operator as a separate process, as its image runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.ports import Port
from kube import wait_until

ROOT = Path(__file__).resolve().parents[3]


class OperatorProcess:
    """An operator that can be started, stopped and killed."""

    def __init__(
        self, kubeconfig: Path, log: Path, *, program: tuple[str, ...] = ("-m", "keras_operator"), **settings: str
    ) -> None:
        self._program = program
        self._port = Port()
        self.address = f"127.0.0.1:{self._port.number}"
        self._log = log
        self._lock = threading.Lock()
        self._is_relaunched = False
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "operator"),
            "KUBECONFIG": str(kubeconfig),
            "KERAS_OPERATOR_SERVER_IMAGE": "registry.example.org/server:1",
            "KERAS_OPERATOR_PIPELINE_IMAGE": "registry.example.org/pipeline:1",
            "KERAS_OPERATOR_STORE_URL": "http://keras-store.keras-system.svc:8080",
            "KERAS_OPERATOR_LISTEN": self.address,
            "KERAS_OPERATOR_LOG_FORMAT": "text",
            **{f"KERAS_OPERATOR_{name.upper()}": value for name, value in settings.items()},
        }

    def launch(self) -> None:
        """Start it without waiting."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._program], env=self._environment, stdout=log, stderr=log
            )

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.launch()
        try:
            wait_until(self.is_ready, "the operator to be ready")
        except BaseException:
            print(self.tail())
            self.stop()
            raise

    def stop(self) -> int | None:
        """Stop it with SIGTERM, as the kubelet does. Returns its exit code."""
        with self._lock:
            if self._process is None:
                return None
            self._process.terminate()
            try:
                code = self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
                raise
            self._process = None
            return code

    def kill(self) -> None:
        """Kill it with SIGKILL, as the kernel does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def kill_and_relaunch(self) -> None:
        """Kill it and start it again, as the kernel and the kubelet do."""
        with self._lock:
            self.kill()
            self.launch()

    @contextmanager
    def relaunching(self) -> Iterator[None]:
        """Start it again whenever it exits, as the kubelet does."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.1):
                with self._lock:
                    if self._process is not None and self._process.poll() is not None:
                        self.launch()

        watcher = threading.Thread(target=watch)
        self._is_relaunched = True
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            self._is_relaunched = False

    def __enter__(self) -> Self:
        if self._process is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def tail(self, lines: int = 60) -> str:
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def metrics(self) -> dict[str, float]:
        """Samples by name and labels, as /metrics writes them."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=5) as response:
            lines = response.read().decode().splitlines()
        return {
            name: float(value)
            for line in lines
            if line and not line.startswith("#")
            for name, _, value in [line.rpartition(" ")]
        }

    def writes(self) -> float:
        """Requests so far that could have changed an object."""
        return sum(
            value
            for name, value in self.metrics().items()
            if name.startswith("keras_operator_api_request_duration_seconds_count")
            and any(f'verb="{verb}"' in name for verb in ("apply", "patch", "delete", "create"))
        )

    def applies(self) -> Counter[tuple[str, str]]:
        """Children applied so far, by kind and cause."""
        found: Counter[tuple[str, str]] = Counter()
        for name, value in self.metrics().items():
            match = re.fullmatch(r'keras_operator_applies_total\{cause="(\w+)",kind="(\w+)"\}', name)
            if match:
                found[match[2], match[1]] = int(value)
        return found

    def is_ready(self) -> bool:
        with self._lock:
            assert self._process is not None
            if self._process.poll() is not None and not self._is_relaunched:
                raise AssertionError(f"the operator exited with {self._process.returncode}:\n{self.tail()}")
        try:
            with urllib.request.urlopen(f"http://{self.address}/readyz", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False
