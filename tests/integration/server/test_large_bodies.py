"""Large bodies are decoded and encoded off the event loop, so that health probes are answered meanwhile."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from keras_runtimes.bundle import open_bundle
from keras_server.admission import Admission
from keras_server.dataplane import DataPlane
from keras_server.health import Health, State
from keras_server.http_front.app import HttpApp
from keras_server.http_front.bodies import INLINE_BYTES, Bodies
from keras_server.metrics import Metrics
from keras_server.model import Model
from keras_server.protocols import tfserving, version_names
from keras_server.protocols.base import Exchange, Protocol

SECONDS = 30  # of patience, not of waiting
LARGE_ROWS = INLINE_BYTES // len("[1.0,2.0,3.0,4.0],")
PREDICT = "/v1/models/classifier:predict"


class Gate:
    """A codec that waits until the test opens it, and remembers its thread."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.thread = ""

    def __call__(self, codec: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*args: Any) -> Any:
            self.thread = threading.current_thread().name
            self.entered.set()
            assert self.opened.wait(SECONDS), "the test could not open the gate: the event loop is blocked"
            return codec(*args)

        return wait


@asynccontextmanager
async def serving(bundle: Path, protocol: Protocol) -> AsyncIterator[str]:
    """A server in this process, with a protocol of the test's own; its URL."""
    health, admission = Health(), Admission(max_requests=9, max_bytes=2**28, max_request_bytes=2**26)
    metrics = Metrics(in_flight=lambda: admission.requests, ready=lambda: 1)
    model = Model(open_bundle(bundle), name="classifier", workers=1, threads=1, observe=metrics.observe_inference)
    await model.load()
    health.become(State.READY, "")
    plane = DataPlane(health=health, admission=admission, metrics=metrics, max_rows=2**20, version_names=version_names)
    plane.serve(model)
    bodies = Bodies(max_bytes=2**26, timeout=SECONDS)
    http = HttpApp(name="classifier", plane=plane, health=health, metrics=metrics, bodies=bodies, protocols=(protocol,))
    runner = web.AppRunner(http.application())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def body(rows: int) -> bytes:
    """To be sent as a file: aiohttp warns of a large body in bytes."""
    return json.dumps({"instances": [[1.0, 2.0, 3.0, 4.0]] * rows}).encode()


def decode_through(gate: Gate) -> Protocol:
    return replace(tfserving.PROTOCOL, decode=gate(tfserving.decode))


def encode_through(gate: Gate) -> Protocol:
    def decode(*args: Any) -> Exchange:
        exchange = tfserving.decode(*args)
        return Exchange(exchange.request, gate(exchange.encode))

    return replace(tfserving.PROTOCOL, decode=decode)


@pytest.mark.parametrize("gated", [decode_through, encode_through])
async def test_health_probes_are_answered_while_a_large_body_is_decoded_or_encoded(
    bundles: dict[str, Path], gated: Callable[[Gate], Protocol]
) -> None:
    gate = Gate()
    async with serving(bundles["classifier"], gated(gate)) as url, aiohttp.ClientSession(url) as client:
        request = asyncio.create_task(client.post(PREDICT, data=io.BytesIO(body(LARGE_ROWS))))
        assert await asyncio.to_thread(gate.entered.wait, SECONDS)

        for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
            async with client.get(path) as probe:
                assert probe.status == 200
        small = asyncio.create_task(client.get("/v1/models/classifier"))
        assert (await small).status == 200
        assert not request.done()

        gate.opened.set()
        async with await request as answer:
            assert answer.status == 200
            assert len((await answer.json())["predictions"]) == LARGE_ROWS


@pytest.mark.parametrize("gated", [decode_through, encode_through])
@pytest.mark.parametrize(("rows", "inline"), [(1, True), (LARGE_ROWS, False)], ids=["small", "large"])
async def test_a_small_body_is_not_worth_another_thread(
    bundles: dict[str, Path], gated: Callable[[Gate], Protocol], rows: int, inline: bool
) -> None:
    gate = Gate()
    gate.opened.set()
    async with (
        serving(bundles["classifier"], gated(gate)) as url,
        aiohttp.ClientSession(url) as client,
        client.post(PREDICT, data=io.BytesIO(body(rows))) as answer,
    ):
        assert answer.status == 200

    assert (gate.thread == threading.current_thread().name) is inline


async def test_an_error_in_a_large_body_is_answered_as_in_a_small_one(bundles: dict[str, Path]) -> None:
    gate = Gate()
    gate.opened.set()
    large = body(LARGE_ROWS)[:-3] + b"?]}"
    async with (
        serving(bundles["classifier"], decode_through(gate)) as url,
        aiohttp.ClientSession(url) as client,
        client.post(PREDICT, data=io.BytesIO(large)) as answer,
    ):
        assert answer.status == 400
        assert "the body is not a predict request" in (await answer.json())["error"]
