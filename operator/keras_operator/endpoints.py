"""The HTTP endpoints of the operator itself: /healthz, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from keras_operator.kube.metrics import Metrics


@asynccontextmanager
async def endpoints(address: str, metrics: Metrics, missing: Callable[[], str]) -> AsyncIterator[None]:
    """Serve the endpoints while the context lasts.

    Args:
        address: ``host:port`` to listen on.
        metrics: the content of /metrics.
        missing: what the operator waits for, as /readyz reports it; empty when it is ready.
    """

    async def healthz(_: web.Request) -> web.Response:
        # An answer proves that the event loop runs; when the watch ends, so does the process.
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        waits_for = missing()
        return web.Response(status=503, text=f"{waits_for}\n") if waits_for else web.Response(text="ok\n")

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", show_metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, _, port = address.rpartition(":")
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        yield
    finally:
        await runner.cleanup()
