"""A KerasModel on the cluster: apply, wait, predict, delete."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import kubectl as k8s
from obstore.store import S3Store

S3_ENDPOINT = "http://s3.s3.svc:7070"


class Model:
    """One KerasModel and its model file."""

    def __init__(self, name: str, namespace: str, bucket: S3Store) -> None:
        self.name = name
        self.namespace = namespace
        self._bucket = bucket

    def upload(self, file: Path | bytes, name: str = "model.keras") -> str:
        """Upload a file, or bytes, to the model's folder in the bucket. Returns its address."""
        self._bucket.put(f"{self.namespace}/{self.name}/{name}", file)
        return self.address(name)

    def address(self, name: str = "model.keras") -> str:
        """The address of a file of that name after `upload`."""
        return f"s3://models/{self.namespace}/{self.name}/{name}"

    def apply(self, uri: str, *, source: Mapping[str, Any] | None = None, **spec: Any) -> None:
        """Apply the resource with a source, and other fields of spec as keywords."""
        of_bucket = {"s3": {"endpoint": S3_ENDPOINT}, "secretRef": {"name": "models-reader"}}
        k8s.apply(
            {
                "apiVersion": "keras-operator.dev/v1alpha1",
                "kind": "KerasModel",
                "metadata": {"name": self.name},
                "spec": {
                    "source": {"uri": uri, **(of_bucket if uri.startswith("s3:") else {}), **(source or {})},
                    **spec,
                },
            },
            namespace=self.namespace,
        )

    def delete(self) -> None:
        """Delete the resource, and wait until it no longer exists."""
        k8s.kubectl("delete", "kerasmodel", self.name, "-n", self.namespace, "--ignore-not-found", "--timeout=60s")

    @property
    def resource(self) -> dict[str, Any]:
        """The present resource."""
        return k8s.get("kerasmodel", self.name, self.namespace) or {}

    @property
    def status(self) -> dict[str, Any]:
        """The present status."""
        return self.resource.get("status", {})

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition about the present generation, or {}."""
        return condition(self.resource, kind)

    def wait_ready(self, timeout: float = 180) -> dict[str, Any]:
        """Wait for Ready. Returns the status.

        Raises:
            AssertionError: it is stalled before, or not Ready in time.
        """

        def ready() -> bool:
            stalled = self.condition("Stalled")
            assert stalled.get("status") != "True", f"stalled: {stalled}"
            return self.condition("Ready").get("status") == "True"

        until(ready, f"{self.name} is Ready", timeout)
        return self.status

    def wait_reason(self, kind: str, reason: str, timeout: float = 180) -> dict[str, Any]:
        """Wait until a condition has a reason. Returns the condition."""
        until(lambda: self.condition(kind).get("reason") == reason, f"{kind} has the reason {reason}", timeout)
        return self.condition(kind)

    def wait_failure(self, reason: str, kind: str = "Ready", timeout: float = 120) -> dict[str, Any]:
        """Wait until a condition has a reason. Returns `status.lastFailure` of the same moment.

        Raises:
            AssertionError: it has not in time, or the model is Ready meanwhile, or lastFailure is another failure.
        """
        deadline = time.monotonic() + timeout
        while True:
            resource = self.resource
            found = condition(resource, kind)
            if found.get("reason") == reason:
                failure: dict[str, Any] = resource["status"]["lastFailure"]
                assert (failure["reason"], failure["message"]) == (reason, found["message"])
                return failure
            ready = condition(resource, "Ready")
            assert ready.get("status") != "True", f"Ready, although the spec is not rolled out: {ready}"
            assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {kind} for {reason}, but {ready}"
            time.sleep(0.3)

    def forward(self) -> AbstractContextManager[str]:
        """The address of the Service on this machine while the context lasts."""
        return k8s.port_forward(f"service/{self.name}", self.namespace, 8080)

    @contextmanager
    def node_port(self) -> Iterator[str]:
        """An address on this machine that routes to all ready pods, as the Service in the cluster does."""
        name = f"{self.name}-outside"
        selector = dict(term.split("=") for term in self.status["selector"].split(","))
        spec = {"type": "NodePort", "selector": selector, "ports": [{"port": 8080, "targetPort": "http"}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
        k8s.apply(service, namespace=self.namespace)
        try:
            live = k8s.get("service", name, self.namespace)
            assert live
            url = f"http://127.0.0.1:{live['spec']['ports'][0]['nodePort']}"
            until(lambda: answers(url), f"{url} answers")
            yield url
        finally:
            k8s.kubectl("delete", "service", name, "-n", self.namespace)

    def predict(self, url: str, instances: Any) -> Any:
        """Predict with the REST API of TensorFlow Serving."""
        return post(f"{url}/v1/models/{self.name}:predict", {"instances": instances})["predictions"]


class Client:
    """Sends requests to a model from a separate thread all the time, and records failures."""

    def __init__(self, model: Model, url: str, instances: Any, pause: float = 0.02) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_requests, args=(model, url, instances))

    def _send_requests(self, model: Model, url: str, instances: Any) -> None:
        while not self._stop.is_set():
            try:
                model.predict(url, instances)
                self.answers += 1
            except (OSError, HTTPException) as error:
                self.failures.append(repr(error))
            self._stop.wait(self._pause)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def condition(resource: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A condition about the present generation of a resource, or {}."""
    for each in resource.get("status", {}).get("conditions", []):
        if each["type"] == kind and each.get("observedGeneration") == resource["metadata"]["generation"]:
            found: dict[str, Any] = each
            return found
    return {}


def post(url: str, body: Any) -> Any:
    """POST JSON. Returns the JSON of the response."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def fetch(url: str) -> Any:
    """GET JSON. Returns it decoded."""
    with urllib.request.urlopen(url, timeout=30) as reply:
        return json.load(reply)


def answers(url: str) -> bool:
    """Whether a server at this address is ready."""
    try:
        with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5):
            return True
    except OSError:
        return False


def until(true: Callable[[], bool], what: str, timeout: float = 60) -> None:
    """Poll until `true` returns True.

    Raises:
        AssertionError: it does not within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.3)
