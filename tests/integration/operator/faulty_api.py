"""A proxy between the operator and the API server: records requests and injects faults."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import hdrs, web
from cluster import pki
from kube import wait_until
from operator_process import OperatorProcess

Forward = Callable[[], Awaitable[web.StreamResponse]]
Fault = Callable[[Forward], Awaitable[web.StreamResponse]]

# Headers of one connection, which are not forwarded.
_OF_THE_CONNECTION = {hdrs.HOST, hdrs.CONNECTION, hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.CONTENT_ENCODING}
_WRITES = ("apply", "patch", "delete", "create")
_GONE = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}


@dataclass(frozen=True)
class Call:
    """A request with the status of its response."""

    what: str
    """Verb and resource, as in ``apply jobs`` or ``patch kerasmodels/status``."""
    namespace: str
    name: str
    status: int
    time: float
    """Time of the response, by `time.monotonic`."""


@dataclass
class InjectedFault:
    """A fault for the next requests that match a pattern."""

    what: str
    fault: Fault
    times: int
    skip: int
    count: int = 0
    time: float = 0.0
    """Time of the last injection, by `time.monotonic`."""

    @property
    def is_done(self) -> bool:
        """Whether it was injected as often as requested."""
        return self.count >= self.times


class FaultyApi:
    """A reverse proxy on loopback: plain HTTP, with all permissions."""

    def __init__(self, upstream: Path, kubeconfig: Path) -> None:
        """`upstream` is the API server's kubeconfig; the proxy's own is written to `kubeconfig`."""
        self.kubeconfig = kubeconfig
        self.calls: list[Call] = []
        config = yaml.safe_load(upstream.read_text())
        self._upstream: str = config["clusters"][0]["cluster"]["server"]
        self._tls = pki.client_tls(config)
        self._faults: list[InjectedFault] = []
        self._watches: dict[asyncio.Task[Any], web.Request] = {}
        self._sockets: list[socket.socket] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def inject(self, what: str, fault: Fault, times: int = 1, skip: int = 0) -> InjectedFault:
        """Inject a fault into the next requests of a pattern (``apply jobs``, ``watch *``), after `skip` of them."""
        injected = InjectedFault(what, fault, times, skip)
        self._faults.append(injected)
        return injected

    def clear_faults(self) -> None:
        """Forward all requests from now on."""
        self._faults.clear()

    def close_watches(self) -> None:
        """End all watches as if the connections broke."""
        self._loop.call_soon_threadsafe(lambda: [watch.cancel() for watch in self._watches])

    @contextmanager
    def without_watches(self) -> Iterator[None]:
        """Close all watches; the next ones report nothing, and end with 410 Gone when the context ends."""
        over = asyncio.Event()
        alive = [watch for watch in self._watches.values() if watch.transport is not None]
        gone = self.inject("watch *", _gone_after(over), times=len(alive))
        self.close_watches()
        wait_until(lambda: gone.is_done, "the operator to watch again")
        yield
        self._loop.call_soon_threadsafe(over.set)

    def writes(self) -> list[Call]:
        """Requests so far that could have changed an object."""
        return [call for call in self.calls if call.what.startswith(_WRITES) and call.what != "create events"]

    def applied(self, namespace: str) -> Counter[str]:
        """How often each child was applied, as ``jobs digits-prepare-x``."""
        return Counter(
            f"{call.what.removeprefix('apply ')} {call.name}"
            for call in list(self.calls)
            if call.what.startswith("apply ") and call.namespace == namespace and call.status < 300
        )

    def created(self, plural: str, namespace: str) -> Counter[str]:
        """How often an object of each name was created."""
        return Counter(
            call.name
            for call in list(self.calls)
            if call.what == f"apply {plural}" and call.namespace == namespace and call.status == 201
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _open(self) -> None:
        self._session = aiohttp.ClientSession(
            self._upstream,
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0, socket_factory=self._socket),
            skip_auto_headers=[hdrs.CONTENT_TYPE, hdrs.USER_AGENT],
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "faulty", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                    "users": [{"name": "operator", "user": {}}],
                    "contexts": [{"name": "faulty", "context": {"cluster": "faulty", "user": "operator"}}],
                    "current-context": "faulty",
                }
            )
        )

    async def _close(self) -> None:
        await self._runner.cleanup()
        # An unanswered request waits until it is cancelled, even if the client has disconnected.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._session.close()
        # The session does not track connections that it aborted; their TLS still waits for the shutdown.
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        while any(each.fileno() != -1 for each in self._sockets):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        self._sockets = [each for each in self._sockets if each.fileno() != -1]
        made = socket.socket(*address[:3])
        made.setblocking(False)
        self._sockets.append(made)
        return made

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        what, namespace, name = _read(request)
        body = await request.read()

        async def forward() -> web.StreamResponse:
            response = await self._forward(request, what, body)
            self.calls.append(Call(what, namespace, name, response.status, time.monotonic()))
            return response

        for injected in self._faults:
            if not injected.is_done and fnmatchcase(what, injected.what):
                if injected.skip:
                    injected.skip -= 1
                    continue
                injected.count += 1
                injected.time = time.monotonic()
                return await injected.fault(forward)
        return await forward()

    async def _forward(self, request: web.Request, what: str, body: bytes) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.title() not in _OF_THE_CONNECTION}
        try:
            async with self._session.request(
                request.method, request.rel_url, data=body or None, headers=headers, allow_redirects=False
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.title() not in _OF_THE_CONNECTION}
                if not what.startswith("watch "):
                    return web.Response(status=answer.status, body=await answer.read(), headers=kept)
                return await self._stream(request, answer, kept)
        except aiohttp.ClientError:
            return _abort_connection(request)

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        task = asyncio.current_task()
        assert task is not None
        self._watches[task] = request
        try:
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        except ConnectionResetError:
            pass  # the operator has disconnected
        finally:
            del self._watches[task]
        return response


def responds_with(status: int, retry_after: int | None = None) -> Fault:
    """The API server returns an error."""

    async def fault(_: Forward) -> web.StreamResponse:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        message = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too busy", "code": status}
        return web.json_response(message, status=status, headers=headers)

    return fault


def delayed(seconds: float) -> Fault:
    """The response is late."""

    async def fault(forward: Forward) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await forward()

    return fault


def unanswered() -> Fault:
    """The request is accepted, and never answered."""

    async def fault(_: Forward) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return fault


def kills(operator: OperatorProcess, moment: str) -> Fault:
    """The operator is killed immediately ``before`` or ``after`` its request is processed, and started again."""

    async def fault(forward: Forward) -> web.StreamResponse:
        if moment == "after":
            await forward()
        await asyncio.to_thread(operator.kill_and_relaunch)
        return web.Response(status=503)  # no client is left to read it

    return fault


def preceded_by(action: Callable[[], object]) -> Fault:
    """An action runs immediately before the request is processed."""

    async def fault(forward: Forward) -> web.StreamResponse:
        await asyncio.to_thread(action)
        return await forward()

    return fault


def _gone_after(over: asyncio.Event) -> Fault:
    async def fault(_: Forward) -> web.StreamResponse:
        await over.wait()
        return web.json_response({"type": "ERROR", "object": _GONE})

    return fault


def _abort_connection(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


def _read(request: web.Request) -> tuple[str, str, str]:
    """Verb and resource, namespace and name of a request."""
    parts = request.path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if len(parts) > 2 and parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = [*parts, "", "", ""][:3]
    if request.query.get("watch") == "true":
        verb = "watch"
    elif request.method == "GET":
        verb = "get" if name else "list"
    elif request.content_type == "application/apply-patch+yaml":
        verb = "apply"
    else:
        verb = {"POST": "create", "PUT": "update"}.get(request.method, request.method.lower())
    return f"{verb} {plural}{'/' if subresource else ''}{subresource}", namespace, name
