"""A new API server with everything that the operator needs, except the operator."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from keras_api.crd import custom_resource_definition
from keras_store.sources.registry import SCHEMES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "hack"), str(HERE)]

from audit import AuditLog  # noqa: E402
from client import CONNECTIONS, DEPLOYMENTS, MODELS, Client, Object  # noqa: E402
from cluster.apiserver import SERVICE_MONITOR_CRD, ApiServer  # noqa: E402
from processes import Process, free_port  # noqa: E402

NAMESPACE = "keras-system"
ACCOUNT = "keras-operator"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
WAIT_SECONDS = 900


class Operator(Process):
    """The operator, started as in its image."""

    def __init__(self, kubeconfig: Path, store_url: str, log: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        settings = {
            "SERVER_IMAGE": "registry.example.org/keras-operator/server:1",
            "PIPELINE_IMAGE": "registry.example.org/keras-operator/pipeline:1",
            "STORE_URL": store_url,
            "LEASE": f"{NAMESPACE}/{ACCOUNT}",
            "POD_NAME": f"{ACCOUNT}-0",
            "LISTEN": self.address,
            "LOG_FORMAT": "text",
        }
        environment = {"KUBECONFIG": str(kubeconfig), **{f"KERAS_OPERATOR_{k}": v for k, v in settings.items()}}
        super().__init__(["-m", "keras_operator"], log, environment)

    async def metrics(self) -> dict[str, float]:
        """Samples by name and labels, as /metrics writes them."""
        text = await asyncio.to_thread(_get, f"http://{self.address}/metrics")
        samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    async def wait_until_ready(self) -> None:
        """Wait until the cache is complete and the operator is the leader."""

        async def is_ready() -> bool:
            try:
                return bool(await asyncio.to_thread(_get, f"http://{self.address}/readyz"))
            except (urllib.error.URLError, ConnectionError):
                return False

        await self._wait_for(is_ready, "the operator to be ready", every=0.05)

    async def wait_until_served(self, count: int) -> None:
        """Wait until `count` models are Ready and the work queue is empty."""

        async def are_served() -> bool:
            found = await self.metrics()
            served = found.get('keras_operator_models{ready="True",reason="Serving"}', 0)
            return served == count and found['workqueue_depth{name="kerasmodel"}'] == 0

        await self._wait_for(are_served, f"{count} models to be Ready", every=0.1)

    async def wait_until_reconciled(self, count: int) -> None:
        """Wait until `count` models were reconciled since the start and the work queue is empty."""

        async def are_reconciled() -> bool:
            try:
                found = await self.metrics()
            except (urllib.error.URLError, ConnectionError):
                return False
            reconciles = found.get('keras_operator_reconcile_duration_seconds_count{result="ok"}', 0)
            return reconciles >= count and found['workqueue_depth{name="kerasmodel"}'] == 0

        await self._wait_for(are_reconciled, f"{count} models to be reconciled", every=0.1)

    async def _wait_for(self, condition: Callable[[], Awaitable[bool]], what: str, *, every: float) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not await condition():
            if self.has_ended():
                raise RuntimeError(self.log_tail())
            if time.monotonic() > deadline:
                raise RuntimeError(f"timeout after {WAIT_SECONDS} s: waiting for {what}")
            await asyncio.sleep(every)


class Stage:
    """An API server without controllers, the embedded store, and a stand-in for the rest of a cluster."""

    def __init__(self) -> None:
        self._exit = AsyncExitStack()
        self._operators = 0

    async def __aenter__(self) -> Self:
        try:
            await self._build()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    async def _build(self) -> None:
        enter = self._exit.enter_async_context
        self.folder = Path(self._exit.enter_context(TemporaryDirectory(prefix="keras-operator-bench-")))
        self.audit = AuditLog(self.folder / "audit", USER)
        server = self._exit.enter_context(ApiServer(self.folder / "api", flags=self.audit.flags))
        self.client = await enter(Client(server.kubeconfig))
        await self._install()
        self.kubeconfig = await self._kubeconfig(server.kubeconfig)
        port = free_port()
        self._store_url = f"http://127.0.0.1:{port}"
        serve = ["-m", "keras_store", "serve", "--root", str(self.folder / "store"), "--host", "127.0.0.1"]
        serve += ["--port", str(port), "--insecure-no-auth"]
        self._store = await enter(Process(serve, self.folder / "store.log"))
        self.stand_in = await enter(Process([HERE / "stand_in.py", server.kubeconfig], self.folder / "stand-in.log"))
        self.source = await self.stand_in.line()

    async def _install(self) -> None:
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for definition in (custom_resource_definition(SCHEMES), SERVICE_MONITOR_CRD):
            await self.client.create(definitions, definition)
        for path in (MODELS, "/apis/monitoring.coreos.com/v1/servicemonitors"):
            await self._wait_until_served(path)
        await self.client.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        await self.client.create(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": ACCOUNT}})
        group = "rbac.authorization.k8s.io"
        binding = {
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        }
        await self.client.create(f"/apis/{group}/v1/clusterrolebindings", binding)

    async def _wait_until_served(self, path: str) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.client.request("GET", path)
                except RuntimeError:
                    await asyncio.sleep(0.1)
                else:
                    return

    async def _kubeconfig(self, admin: Path) -> Path:
        """A kubeconfig of the operator's own account, which identifies it in the audit log."""
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86400},
        }
        token = (await self.client.create(path, body))["status"]["token"]
        return _with_token(admin, token, self.folder / "operator.kubeconfig")

    def operator(self) -> Operator:
        """An operator for this API server, not started yet."""
        self._operators += 1
        return Operator(self.kubeconfig, self._store_url, self.folder / f"operator-{self._operators}.log")

    def model(self, number: int) -> Object:
        """A KerasModel to create."""
        name = name_of(number)
        return {
            "apiVersion": "keras-operator.dev/v1alpha1",
            "kind": "KerasModel",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"source": {"uri": f"{self.source}/{name}.keras"}},
        }

    async def create(self, numbers: range) -> None:
        """Create models as fast as the API server accepts them."""
        remaining = iter(numbers)

        async def work() -> None:
            for number in remaining:
                await self.client.create(MODELS, self.model(number))

        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))

    async def deployed(self, count: int) -> None:
        """Wait until the stand-in has made `count` more Deployments ready."""
        async with asyncio.timeout(WAIT_SECONDS):
            for _ in range(count):
                await self.stand_in.line()

    async def annotate_pods(self, number: int, value: str) -> None:
        """Change a model's spec so that its Deployment must change."""
        spec = {"serving": {"podTemplate": {"metadata": {"annotations": {"example.org/change": value}}}}}
        await self.client.merge(f"{MODELS}/{name_of(number)}", {"spec": spec})

    async def changes(self, arrived: asyncio.Queue[tuple[str, str, float]]) -> None:
        """Put every Deployment's name, last change and time of arrival into a queue, forever."""
        async for event in self.client.watch(DEPLOYMENTS):
            template = event["object"]["spec"]["template"]["metadata"]
            value = (template.get("annotations") or {}).get("example.org/change", "")
            arrived.put_nowait((event["object"]["metadata"]["name"], value, time.perf_counter()))


def name_of(number: int) -> str:
    """Name of a model."""
    return f"model-{number:05d}"


def _with_token(admin: Path, token: str, kubeconfig: Path) -> Path:
    config = json.loads(admin.read_text())
    config["users"][0]["user"] = {"token": token}
    kubeconfig.write_text(json.dumps(config))
    return kubeconfig


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as reply:
        return str(reply.read().decode())
