"""A small client of the Kubernetes API for the parts that are not measured, with the rights of its kubeconfig."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "hack"))

from cluster import pki

Object = dict[str, Any]

MODELS = "/apis/keras-operator.dev/v1alpha1/namespaces/default/kerasmodels"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"

CONNECTIONS = 16
_TIMEOUT = aiohttp.ClientTimeout(total=60)
# A watch lasts as long as the benchmark; its lines are whole objects.
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)
_WATCH_SECONDS = 7200
_LINE_BYTES = 2**20


class Client:
    """Connects as the only user of the kubeconfig, with its certificate."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        self._server = config["clusters"][0]["cluster"]["server"]
        self._tls = pki.client_tls(config)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Watches must not take connections from requests.
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=CONNECTIONS + 4)
        self._session = aiohttp.ClientSession(self._server, connector=connector, read_bufsize=_LINE_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def request(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Object:
        """Send a request and return the response.

        Raises:
            RuntimeError: the API server rejects the request; with its message.
        """
        assert self._session is not None
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content}
        async with self._session.request(method, path, data=data, headers=headers, timeout=_TIMEOUT) as response:
            text = await response.text()
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status} {text[:500]}")
            answer: Object = json.loads(text)
            return answer

    async def create(self, path: str, obj: Object) -> Object:
        """Create an object in a collection."""
        return await self.request("POST", path, obj)

    async def merge(self, path: str, body: Object) -> Object:
        """Patch an object or its status with a merge patch."""
        return await self.request("PATCH", path, body, "application/merge-patch+json")

    async def watch(self, path: str, selector: str = "") -> AsyncIterator[Object]:
        """The objects in a collection, followed by every change."""
        assert self._session is not None
        query = {"watch": "1", "timeoutSeconds": str(_WATCH_SECONDS), "labelSelector": selector}
        async with self._session.get(path, params=query, timeout=_WATCH_TIMEOUT) as response:
            response.raise_for_status()
            async for line in response.content:
                event: Object = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(f"watching {path}: {event['object']}")
                yield event
        raise RuntimeError(f"watching {path}: the API server ended the watch")
