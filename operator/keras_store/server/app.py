"""The HTTP application of the embedded store.

GET (with Range), HEAD and PUT of ``/<namespace>/<model>/<revision>/<file>`` are for the ServiceAccounts of that
namespace; a token may be read-only. One more ServiceAccount, the operator's, may GET the manifests of all namespaces.
``/healthz`` and ``/metrics`` need no token. Errors are one line of plain text.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from keras_api.manifest import MANIFEST_NAME
from keras_store.atomic_file import CHUNK_BYTES, is_full
from keras_store.server.disk import BadPathError, BundleDisk, FilePath, ImmutableBundleError, IncompleteError
from keras_store.server.tokens import (
    Account,
    Authenticator,
    InvalidTokenError,
    NotServiceAccountError,
    ReviewUnavailableError,
)

log = logging.getLogger(__name__)

# Concurrent transfers. A request waits this long for a slot: with its TokenReview less than the client's idle timeout.
TRANSFERS = 64
SLOT_SECONDS = 10.0
# Idle timeout of an upload, and timeout of a download.
IDLE_SECONDS = 60.0
DOWNLOAD_SECONDS = 3600.0
# Uploads leave this much space on the volume.
SPARE_BYTES = 16 << 20

_RETRY = {"Retry-After": "2"}
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")


class HTTPInsufficientStorage(web.HTTPServerError):
    """507; aiohttp's own class does not take a text."""

    status_code = 507


class SentFile(web.FileResponse):
    """A file that the handler sends itself, by `prepare`, and with that under the handler's timeout."""

    _prepared = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the file, in the first call."""
        if self._prepared:
            return None
        self._prepared = True
        return await super().prepare(request)


class StoreApp:
    """The HTTP interface of a bundle disk.

    Args:
        disk: has the bundles.
        authenticator: finds the namespace of a token; None: every client may read and write everything.
        registry: of the metrics.
        reader: the account that may read all manifests, and no other file, even in its own namespace.
    """

    def __init__(
        self,
        disk: BundleDisk,
        authenticator: Authenticator | None,
        registry: CollectorRegistry,
        reader: Account | None = None,
    ) -> None:
        self._disk = disk
        self._authenticator = authenticator
        self._reader = reader
        self._registry = registry
        self._slots = asyncio.Semaphore(TRANSFERS)
        self._requests = Counter(
            "keras_store_requests_total", "Requests for files.", ["method", "code"], registry=registry
        )
        self._duration = Histogram(
            "keras_store_request_duration_seconds",
            "Duration of requests for files, with the transfer.",
            ["method"],
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 1800),
            registry=registry,
        )
        self._received = Counter("keras_store_received_bytes_total", "Bytes of uploads.", registry=registry)
        self._sent = Counter("keras_store_sent_bytes_total", "Bytes of downloads.", registry=registry)
        Gauge("keras_store_free_bytes", "Free space on the volume.", registry=registry).set_function(disk.free_bytes)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/{path:.+}", self._observed(self._get), allow_head=True)
        app.router.add_put("/{path:.+}", self._observed(self._put))
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _observed(self, handler: Callable[[web.Request, FilePath], Awaitable[web.StreamResponse]]) -> Handler:
        async def observed(request: web.Request) -> web.StreamResponse:
            begin, code = time.monotonic(), 500
            try:
                path = await self._authorize(request)
                async with self._slot():
                    response = await handler(request, path)
            except web.HTTPException as error:
                code = error.status
                log.info("%s %s: %d %s", request.method, request.path, code, (error.text or "").strip())
                raise
            except (ConnectionError, asyncio.CancelledError):
                code = 499  # the client closed the connection; there is no standard status for it
                raise
            else:
                code = response.status
                return response
            finally:
                self._requests.labels(request.method, code).inc()
                self._duration.labels(request.method).observe(time.monotonic() - begin)

        return observed

    async def _authorize(self, request: web.Request) -> FilePath:
        try:
            path = FilePath.parse(request.match_info["path"])
        except BadPathError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        if self._authenticator is None:
            return path
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise web.HTTPUnauthorized(text="a ServiceAccount token is required (Authorization: Bearer ...)\n")
        try:
            identity = await self._authenticator.identity(token.strip())
        except InvalidTokenError as error:
            raise web.HTTPUnauthorized(text=f"{error}\n") from error
        except NotServiceAccountError as error:
            raise web.HTTPForbidden(text=f"{error}\n") from error
        except ReviewUnavailableError as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n", headers=_RETRY) from error
        account, writes = identity.account, request.method == "PUT"
        if account == self._reader:
            if writes or path.file != MANIFEST_NAME:
                raise web.HTTPForbidden(text=f"{account} may only read manifests\n")
        elif account.namespace != path.namespace:
            raise web.HTTPForbidden(
                text=f"pods of namespace {account.namespace} have no access to /{path.namespace}/\n"
            )
        elif writes and not identity.may_write:
            raise web.HTTPForbidden(text="this token is read-only; only the token of a prepare Job may write\n")
        return path

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(SLOT_SECONDS):
                await self._slots.acquire()
        except TimeoutError as error:
            raise web.HTTPServiceUnavailable(text="the store has too many transfers\n", headers=_RETRY) from error
        try:
            yield
        finally:
            self._slots.release()

    async def _get(self, request: web.Request, path: FilePath) -> web.StreamResponse:
        file = self._disk.locate(path)
        if not await asyncio.to_thread(file.is_file):
            raise web.HTTPNotFound(text=f"{path.bundle} has no {path.file}\n")
        response = SentFile(file, chunk_size=CHUNK_BYTES, headers={"Content-Type": "application/octet-stream"})
        async with asyncio.timeout(DOWNLOAD_SECONDS):
            await response.prepare(request)
        if request.method == "GET":
            self._sent.inc(response.content_length or 0)
        return response

    async def _put(self, request: web.Request, path: FilePath) -> web.Response:
        expected = _expected_sha256(request)
        length = request.content_length
        if (length or 0) + SPARE_BYTES > self._disk.free_bytes():
            raise self._full(path, length)
        try:
            async with self._disk.incoming() as file:
                async for chunk in self._body(request):
                    await file.write(chunk)
                    self._received.inc(len(chunk))
                if expected is not None and file.sha256 != expected:
                    raise web.HTTPBadRequest(
                        text=f"the body has sha256 {file.sha256}, but Content-Digest has {expected}: send it again\n"
                    )
                created = await self._disk.add(path, file)
        except (BadPathError, IncompleteError, ImmutableBundleError) as error:
            raise web.HTTPConflict(text=f"{error}\n") from error
        except OSError as error:
            if is_full(error):
                raise self._full(path, length) from error
            raise
        log.info("%s %s/%s: %d bytes", "stored" if created else "kept", path.bundle, path.file, file.size)
        return web.Response(status=201 if created else 200)

    async def _body(self, request: web.Request) -> AsyncIterator[bytes]:
        chunks = request.content.iter_chunked(CHUNK_BYTES)
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    chunk = await anext(chunks, b"")
            except TimeoutError as error:
                raise web.HTTPRequestTimeout(text=f"no data received for {IDLE_SECONDS:g} s\n") from error
            if not chunk:
                return
            yield chunk

    def _full(self, path: FilePath, length: int | None) -> HTTPInsufficientStorage:
        needed = "" if length is None else f"{length} bytes of "
        return HTTPInsufficientStorage(
            text=f"the store's volume has no space left for {needed}{path.bundle}/{path.file} "
            f"({self._disk.free_bytes()} bytes free)\n"
        )


def _expected_sha256(request: web.Request) -> str | None:
    header = request.headers.get("Content-Digest")
    if header is None:
        return None
    match = _DIGEST.search(header)
    try:
        if match and len(digest := base64.b64decode(match[1], validate=True)) == 32:
            return digest.hex()
    except binascii.Error:
        pass
    raise web.HTTPBadRequest(text="Content-Digest must be sha-256=:<base64 of 32 bytes>:\n")
