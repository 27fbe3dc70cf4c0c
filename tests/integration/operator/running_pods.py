"""The programs of serving pods: a real server for each pod, and a client that sends requests to all of them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from http.client import HTTPException
from pathlib import Path

import numpy as np
from cluster.ports import Port
from kube import Kube, Object, wait_until
from onnx_bundles import flowers, write_onnx_bundle
from operator_process import ROOT

_ROW = np.ones((1, 4), np.float32)
_START_SECONDS = 120


class RunningPods:
    """Servers that run as long as their pods exist, and a client that sends requests to each while the context lasts.

    Args:
        kube: the cluster of the pods.
        namespace: the namespace of all pods.
        folder: a folder for the bundle, which all servers share.
    """

    def __init__(self, kube: Kube, namespace: str, folder: Path) -> None:
        self.answers: Counter[str] = Counter()
        """Number of answers by model."""
        self.failures: dict[str, str] = {}
        """The first failure of each model."""
        self._kube = kube
        self._namespace = namespace
        self._bundle = write_onnx_bundle(folder / "bundle", flowers(), {"measures": _ROW})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._urls: dict[str, str] = {}
        self._ports: list[Port] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._send_requests, self._follow_pods)]

    def start(self, pod: Object) -> None:
        """Start a pod's server without waiting for it."""
        model = pod["metadata"]["labels"]["keras-operator.dev/model"]
        port = Port()
        command = [sys.executable, "-m", "keras_server", "--bundle", str(self._bundle), "--name", model]
        command += ["--host", "127.0.0.1", "--port", str(port.number), "--drain-delay", "0"]
        self._processes[pod["metadata"]["uid"]] = subprocess.Popen(
            command, env={"PYTHONPATH": str(ROOT / "operator")}, stderr=subprocess.DEVNULL
        )
        self._ports.append(port)
        self._urls[model] = f"http://127.0.0.1:{port.number}"

    def wait_for_answers(self) -> Counter[str]:
        """The answers so far, after one more answer or a failure of every model."""
        before = self.answers.copy()
        wait_until(
            lambda: all(self.answers[model] > before[model] or model in self.failures for model in self._urls),
            "an answer of every model",
        )
        return self.answers.copy()

    def __enter__(self) -> RunningPods:
        for url in self._urls.values():
            wait_until(lambda url=url: _is_ready(url), "a server to be ready", _START_SECONDS)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(30)

    def _send_requests(self) -> None:
        while not self._stop.wait(0.01):
            for model, url in self._urls.items():
                request = urllib.request.Request(
                    f"{url}/v1/models/{model}:predict", json.dumps({"instances": _ROW.tolist()}).encode()
                )
                try:
                    with urllib.request.urlopen(request, timeout=30) as answer:
                        answer.read()
                    self.answers[model] += 1
                except (OSError, HTTPException) as error:
                    self.failures.setdefault(model, repr(error))

    def _follow_pods(self) -> None:
        """Stop the servers whose pods no longer exist."""
        while not self._stop.wait(0.2):
            pods = self._kube.list("pods", self._namespace, "app.kubernetes.io/component=server")
            present = {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}
            for uid, process in self._processes.items():
                if uid not in present:
                    process.terminate()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v2/health/ready?wait=10", timeout=20):
            return True
    except OSError:
        return False
