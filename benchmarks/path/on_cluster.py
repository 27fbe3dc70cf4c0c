"""From `kubectl apply` to a served model on the cluster, beside a bare Deployment of the same image.

The bundle is in the store: the model is created once, which prepares it, and deleted. The benchmark measures the second
creation. The bare Deployment is the smallest one that serves the same bundle: the same server image, options and
resources, the bundle in a ConfigMap, no store, and one readiness probe with the shortest possible period. The ratio is
the cost of everything that the operator adds.
"""

from __future__ import annotations

import base64
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from kubernetes import config
from row import Row

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "hack"))

import kubectl as k8s  # noqa: E402
import s3  # noqa: E402

ROUNDS = 12
NAME = "digits"
TIMEOUT_SECONDS = 240
# Each poll costs the API server some milliseconds, and delays the result by no more than this.
POLL_SECONDS = 0.02

MODELS = "/apis/keras-operator.dev/v1alpha1/namespaces/{}/kerasmodels"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
PODS = "/api/v1/namespaces/{}/pods"


def missing() -> str:
    """The reason why the rows of the cluster cannot be measured; empty if they can."""
    try:
        found = k8s.kubectl("get", "crd", "kerasmodels.keras-operator.dev", "--ignore-not-found", timeout=20)
    except k8s.CommandError:
        return "no cluster runs: `make cluster` starts one, and `make demo` installs the operator on it"
    return "" if found else "the operator is not installed on the cluster: `make demo` installs it"


def measure(model: Path) -> list[Row]:
    """Alternating rounds of the bare Deployment and of the KerasModel.

    Args:
        model: the model's .keras file.
    """
    with Rounds.in_namespace(model) as rounds:
        return rounds.run()


class Rounds:
    """The rounds in one namespace. The model file is in the bucket."""

    def __init__(self, namespace: str) -> None:
        self.api = Api(namespace)
        self.namespace = namespace

    @classmethod
    @contextmanager
    def in_namespace(cls, file: Path) -> Iterator[Self]:
        """Rounds in a new namespace, which is deleted at the end."""
        namespace = f"bench-{uuid.uuid4().hex[:6]}"
        k8s.kubectl("create", "namespace", namespace)
        try:
            k8s.apply(s3.reader_secret(), namespace=namespace)
            with s3.bucket() as bucket:
                bucket.put(f"{namespace}/digits.keras", file)
            yield cls(namespace)
        finally:
            k8s.kubectl("delete", "namespace", namespace, "--wait=false")

    def run(self) -> list[Row]:
        """Prepare the model once, then measure."""
        self.api.create(MODELS, self.model())
        until(lambda: self.is_ready() or None, "the first Ready")
        bare = self.bare_deployment()
        memory = resident_mb(self.namespace, self.server_pod()["metadata"]["name"])
        self.delete(MODELS, NAME)
        bare_seconds, seconds, profiles = [], [], []
        for _ in range(ROUNDS):
            randomize_start()
            bare_seconds.append(self.time_bare(bare))
            randomize_start()
            profile = self.time_model()
            profiles.append(profile)
            seconds.append(profile["Ready"])
        ratios = [ours / theirs for ours, theirs in zip(seconds, bare_seconds, strict=True)]
        # The position in the kubelet's cycle differs between rounds, so the ratio is the ratio of the medians.
        ratio = statistics.median(seconds) / statistics.median(bare_seconds)
        return [
            Row("apply to Ready, bundle in the store / bare Deployment available", ratio, 1.5, "x", ratios),
            row("bare Deployment of the same image: apply to available", bare_seconds),
            row("apply to Ready, bundle in the store", seconds),
            *(row(f"  of which {step}", spans) for step, spans in spans_of(profiles).items()),
            Row("server pod of the digits model: RSS", memory, 100, "MB", [memory]),
        ]

    def model(self) -> dict[str, Any]:
        """The KerasModel."""
        source = {
            "uri": f"s3://models/{self.namespace}/digits.keras",
            "s3": {"endpoint": "http://s3.s3.svc:7070"},
            "secretRef": {"name": "models-reader"},
        }
        return {
            "apiVersion": "keras-operator.dev/v1alpha1",
            "kind": "KerasModel",
            "metadata": {"name": NAME, "namespace": self.namespace},
            "spec": {"source": source, "serving": {"replicas": 1}},
        }

    def bare_deployment(self) -> dict[str, Any]:
        """The smallest Deployment that serves the same bundle, derived from the operator's Deployment."""
        ours = self.api.get(DEPLOYMENTS, NAME)
        server = ours["spec"]["template"]["spec"]["containers"][0]
        with tempfile.TemporaryDirectory() as folder:
            pod = self.server_pod()["metadata"]["name"]
            tar = subprocess.run(
                ["kubectl", "exec", "-n", self.namespace, pod, "--", "tar", "-c", "-C", "/bundle", "."],
                check=True, capture_output=True, env=k8s.environment(), timeout=60,
            ).stdout  # fmt: skip
            subprocess.run(["tar", "-x", "-C", folder], input=tar, check=True)
            files = {path.name: base64.b64encode(path.read_bytes()).decode() for path in Path(folder).iterdir()}
        k8s.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bundle"}, "binaryData": files},
            namespace=self.namespace,
        )
        probe = {**server["readinessProbe"], "periodSeconds": 1}
        container = {
            **{key: value for key, value in server.items() if not key.endswith("Probe")},
            "command": without_store(server["command"]),
            "env": [each for each in server["env"] if each["name"] != "KERAS_STORE_TOKEN_FILE"],
            "volumeMounts": [each for each in server["volumeMounts"] if each["name"] != "store-token"],
            "readinessProbe": probe,
        }
        labels = {"app": "bare"}
        volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "bundle", "configMap": {"name": "bundle"}}]
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "bare", "namespace": self.namespace},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [container], "volumes": volumes, "enableServiceLinks": False},
                },
            },
        }

    def time_bare(self, deployment: dict[str, Any]) -> float:
        """Seconds from apply to available."""
        began = time.perf_counter()
        self.api.create(DEPLOYMENTS, deployment)
        until(lambda: condition(self.api.get(DEPLOYMENTS, "bare"), "Available"), "the bare Deployment")
        seconds = time.perf_counter() - began
        self.delete(DEPLOYMENTS, "bare")
        return seconds

    def time_model(self) -> dict[str, float]:
        """Seconds from apply to each milestone. Ready is the last one."""
        reached: dict[str, float] = {}
        began = time.perf_counter()
        self.api.create(MODELS, self.model())

        def look() -> bool:
            now = time.perf_counter() - began
            for name in milestones(self.api.list(PODS)):
                reached.setdefault(name, now)
            if self.is_ready():
                reached["Ready"] = time.perf_counter() - began
            return "Ready" in reached

        until(look, "the KerasModel to be Ready")
        assert not self.api.list(JOBS), "the operator created a Job although the bundle is in the store"
        self.delete(MODELS, NAME)
        return reached

    def is_ready(self) -> bool:
        """Whether the KerasModel is Ready."""
        return condition(self.api.get(MODELS, NAME), "Ready")

    def server_pod(self) -> dict[str, Any]:
        """The serving pod."""
        component = "app.kubernetes.io/component"
        return next(pod for pod in self.api.list(PODS) if pod["metadata"]["labels"].get(component) == "server")

    def delete(self, path: str, name: str) -> None:
        """Delete an object, and wait until all pods and Jobs are gone."""
        self.api.delete(path, name)
        until(lambda: not self.api.list(PODS) and not self.api.list(JOBS), "the pods to be gone")


class Api:
    """Dicts from the API server over one connection. The startup of kubectl takes longer than the measured time."""

    def __init__(self, namespace: str) -> None:
        self._client = config.new_client_from_config(k8s.environment().get("KUBECONFIG"))
        self._namespace = namespace

    def create(self, path: str, body: dict[str, Any]) -> None:
        """POST an object."""
        self._request("POST", path, body)

    def get(self, path: str, name: str) -> dict[str, Any]:
        """An object."""
        return self._request("GET", f"{path}/{name}")

    def list(self, path: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        return list(self._request("GET", path)["items"])

    def delete(self, path: str, name: str) -> None:
        """Delete an object. Kubernetes deletes its dependents in the background."""
        self._request("DELETE", f"{path}/{name}", {"propagationPolicy": "Background"})

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        call = self._client.param_serialize(
            method, path.format(self._namespace), header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        answer: dict[str, Any] = json.loads(self._client.call_api(*call, _request_timeout=20).read())
        assert answer.get("kind") != "Status" or answer.get("status") == "Success", answer
        return answer


def randomize_start() -> None:
    """Wait for a random part of a second, because a round ends at a fixed point of the kubelet's one-second cycle."""
    time.sleep(random.random())


def without_store(command: list[str]) -> list[str]:
    """The server's command without the download of the bundle."""
    options = {command.index("--store"), command.index("--path")}
    return [word for i, word in enumerate(command) if i not in options and i - 1 not in options]


def milestones(pods: list[dict[str, Any]]) -> list[str]:
    """The milestones that the serving pod has reached."""
    found = []
    for pod in pods:
        status = pod.get("status", {})
        server = (status.get("containerStatuses") or [{}])[0]
        found.append("pod created")
        if "running" in server.get("state", {}):
            found.append("server container started")
        if server.get("ready"):
            found.append("server ready")
    return found


def spans_of(profiles: list[dict[str, float]]) -> dict[str, list[float]]:
    """Seconds between consecutive milestones in each round."""
    order = ["pod created", "server container started", "server ready", "Ready"]
    starts = ["apply", *order]
    return {
        f"{start} to {end}": [profile[end] - profile.get(start, 0.0) for profile in profiles if end in profile]
        for start, end in zip(starts, order, strict=False)
    }


def row(name: str, rounds: list[float]) -> Row:
    """A row with the median of durations in seconds."""
    return Row(name, statistics.median(rounds), None, "s", rounds)


def condition(obj: dict[str, Any], kind: str) -> bool:
    """Whether a condition is True for the current generation."""
    status = obj.get("status", {})
    return any(
        each["type"] == kind
        and each["status"] == "True"
        and each.get("observedGeneration", status.get("observedGeneration")) == obj["metadata"]["generation"]
        for each in status.get("conditions", [])
    )


def resident_mb(namespace: str, pod: str) -> float:
    """Resident memory of the first process in the container `server`, in MB."""
    text = k8s.kubectl("exec", "-n", namespace, pod, "-c", "server", "--", "cat", "/proc/1/status")
    line = next(line for line in text.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


def until(true: Callable[[], Any], what: str, poll_seconds: float = POLL_SECONDS) -> None:
    """Poll until a condition holds.

    Raises:
        AssertionError: it does not hold in time.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_SECONDS} s: {what}"
        time.sleep(poll_seconds)
