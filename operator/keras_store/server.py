"""The embedded artifact store: bundles over HTTP, each namespace its own, for clusters without an object store.

GET (with Range), HEAD and PUT of ``/<namespace>/<model>/<revision>/<file>``, for the ServiceAccounts of that namespace,
whose tokens may be for reading only;
GET of every namespace's manifests for one more, the operator's; ``/healthz`` and ``/metrics`` for everybody. Errors are
one line of plain text.
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
from keras_store.atomic_file import is_full
from keras_store.bundle_disk import BadPathError, BundleDisk, FilePath, ImmutableBundleError, IncompleteError
from keras_store.storage import CHUNK_BYTES
from keras_store.tokens import Account, InvalidTokenError, ReviewUnavailableError, Tokens, WrongAccountError

log = logging.getLogger(__name__)

# Transfers at once; the others wait for their turn this long: with the look at their token less than a client does.
TRANSFERS = 64
TURN_SECONDS = 10.0
# The longest silence of a client that uploads, and the longest download.
SILENCE_SECONDS = 60.0
DOWNLOAD_SECONDS = 3600.0
# Left free on the disk, so that the volume never fills up to the last byte.
SPARE_BYTES = 16 << 20

_RETRY = {"Retry-After": "2"}
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")


class HTTPInsufficientStorage(web.HTTPServerError):
    """507, which aiohttp lacks with a text of its own."""

    status_code = 507


class SentFile(web.FileResponse):
    """A file that its handler sends itself, by `prepare`: what bounds the handler then bounds the transfer too."""

    _begun = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the file, the first time."""
        if self._begun:
            return None
        self._begun = True
        return await super().prepare(request)


class StoreServer:
    """The HTTP side of an archive.

    Args:
        archive: the disk.
        tokens: who tells namespaces by token; None: everybody may do everything.
        registry: where the metrics are kept.
        reader: the account that reads all manifests, and nothing else, not even in its own namespace.
    """

    def __init__(
        self, archive: BundleDisk, tokens: Tokens | None, registry: CollectorRegistry, reader: Account | None = None
    ) -> None:
        self._archive = archive
        self._tokens = tokens
        self._reader = reader
        self._registry = registry
        self._turns = asyncio.Semaphore(TRANSFERS)
        self._requests = Counter(
            "keras_store_requests_total", "Requests for files.", ["method", "code"], registry=registry
        )
        self._seconds = Histogram(
            "keras_store_request_seconds",
            "Duration of requests for files, transfer included.",
            ["method"],
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 1800),
            registry=registry,
        )
        self._received = Counter("keras_store_received_bytes_total", "Bytes uploaded.", registry=registry)
        self._sent = Counter("keras_store_sent_bytes_total", "Bytes of files asked for.", registry=registry)
        Gauge("keras_store_free_bytes", "Space left on the volume.", registry=registry).set_function(archive.free_bytes)

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
                path = await self._admit(request)
                async with self._turn():
                    response = await handler(request, path)
            except web.HTTPException as error:
                code = error.status
                log.info("%s %s: %d %s", request.method, request.path, code, (error.text or "").strip())
                raise
            except (ConnectionError, asyncio.CancelledError):
                code = 499  # the client left; aiohttp has no name for it
                raise
            else:
                code = response.status
                return response
            finally:
                self._requests.labels(request.method, code).inc()
                self._seconds.labels(request.method).observe(time.monotonic() - begin)

        return observed

    async def _admit(self, request: web.Request) -> FilePath:
        try:
            path = FilePath.parse(request.match_info["path"])
        except BadPathError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        if self._tokens is None:
            return path
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise web.HTTPUnauthorized(text="a ServiceAccount token is needed (Authorization: Bearer ...)\n")
        try:
            holder = await self._tokens.holder(token.strip())
        except InvalidTokenError as error:
            raise web.HTTPUnauthorized(text=f"{error}\n") from error
        except WrongAccountError as error:
            raise web.HTTPForbidden(text=f"{error}\n") from error
        except ReviewUnavailableError as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n", headers=_RETRY) from error
        account, writes = holder.account, request.method == "PUT"
        if account == self._reader:
            if writes or path.file != MANIFEST_NAME:
                raise web.HTTPForbidden(text=f"{account} may read manifests, and nothing else\n")
        elif account.namespace != path.namespace:
            raise web.HTTPForbidden(
                text=f"pods of namespace {account.namespace} have no access to /{path.namespace}/\n"
            )
        elif writes and not holder.may_write:
            raise web.HTTPForbidden(text="this token is for reading: only the prepare Job's writes\n")
        return path

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            raise web.HTTPServiceUnavailable(text="the store is busy\n", headers=_RETRY) from error
        try:
            yield
        finally:
            self._turns.release()

    async def _get(self, request: web.Request, path: FilePath) -> web.StreamResponse:
        file = self._archive.locate(path)
        if not await asyncio.to_thread(file.is_file):
            raise web.HTTPNotFound(text=f"{path.bundle} has no {path.file}\n")
        response = SentFile(file, chunk_size=CHUNK_BYTES, headers={"Content-Type": "application/octet-stream"})
        async with asyncio.timeout(DOWNLOAD_SECONDS):
            await response.prepare(request)
        if request.method == "GET":
            self._sent.inc(response.content_length or 0)
        return response

    async def _put(self, request: web.Request, path: FilePath) -> web.Response:
        want = _wanted_digest(request)
        length = request.content_length
        if (length or 0) + SPARE_BYTES > self._archive.free_bytes():
            raise self._full(path, f"{length} bytes" if length else "anything")
        try:
            async with self._archive.incoming() as file:
                async for chunk in self._body(request):
                    await file.write(chunk)
                    self._received.inc(len(chunk))
                if want is not None and file.sha256 != want:
                    raise web.HTTPBadRequest(
                        text=f"the body has sha256 {file.sha256}, and Content-Digest says {want}: send it again\n"
                    )
                created = await self._archive.add(path, file)
        except (BadPathError, IncompleteError, ImmutableBundleError) as error:
            raise web.HTTPConflict(text=f"{error}\n") from error
        except OSError as error:
            if is_full(error):
                raise self._full(path, "all of it") from error
            raise
        log.info("%s %s/%s: %d bytes", "stored" if created else "kept", path.bundle, path.file, file.size)
        return web.Response(status=201 if created else 200)

    async def _body(self, request: web.Request) -> AsyncIterator[bytes]:
        chunks = request.content.iter_chunked(CHUNK_BYTES)
        while True:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    chunk = await anext(chunks, b"")
            except TimeoutError as error:
                raise web.HTTPRequestTimeout(text=f"nothing came for {SILENCE_SECONDS:g} s\n") from error
            if not chunk:
                return
            yield chunk

    def _full(self, path: FilePath, what: str) -> HTTPInsufficientStorage:
        return HTTPInsufficientStorage(
            text=f"the store's volume has no room for {what} of {path.bundle}/{path.file} "
            f"({self._archive.free_bytes()} bytes free)\n"
        )


def _wanted_digest(request: web.Request) -> str | None:
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
