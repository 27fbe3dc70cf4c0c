"""Files behind http and https: sources, and the client's side of the embedded store."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Self
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from keras_store.errors import StorageError, StorageErrorKind
from keras_store.storage import CHUNK_BYTES, Reading, Stat, Storage, Timeouts

# Most specific first: many of aiohttp's errors are of several of these kinds.
_TROUBLES: list[tuple[type[BaseException], StorageErrorKind, str]] = [
    (aiohttp.ClientConnectorDNSError, StorageErrorKind.UNREACHABLE, "the host does not resolve"),
    (aiohttp.ClientConnectorCertificateError, StorageErrorKind.UNTRUSTED, "the server's certificate is not trusted"),
    (aiohttp.ClientSSLError, StorageErrorKind.UNTRUSTED, "no TLS connection"),
    (aiohttp.ClientProxyConnectionError, StorageErrorKind.UNREACHABLE, "the proxy does not answer"),
    (aiohttp.ConnectionTimeoutError, StorageErrorKind.UNREACHABLE, "no connection in time"),
    (TimeoutError, StorageErrorKind.TIMEOUT, "no answer in time"),
    (aiohttp.ClientConnectorError, StorageErrorKind.UNREACHABLE, "no connection"),
    (aiohttp.ClientPayloadError, StorageErrorKind.UNAVAILABLE, "the answer broke off before its end"),
    (aiohttp.ServerDisconnectedError, StorageErrorKind.UNAVAILABLE, "the server closed the connection"),
    (aiohttp.TooManyRedirects, StorageErrorKind.INVALID_REQUEST, "redirected too often, in a circle perhaps"),
    (aiohttp.RedirectClientError, StorageErrorKind.INVALID_REQUEST, "redirected to what is no http address"),
    (aiohttp.InvalidURL, StorageErrorKind.INVALID_REQUEST, "not a URL"),
    (aiohttp.ClientOSError, StorageErrorKind.UNAVAILABLE, "the connection broke"),
    (aiohttp.ClientError, StorageErrorKind.UNAVAILABLE, "the server's answer is not understood"),
]

_STATUSES: dict[int, StorageErrorKind] = {
    401: StorageErrorKind.DENIED,
    403: StorageErrorKind.DENIED,
    404: StorageErrorKind.MISSING,
    408: StorageErrorKind.UNAVAILABLE,
    409: StorageErrorKind.CONFLICT,
    410: StorageErrorKind.MISSING,
    425: StorageErrorKind.UNAVAILABLE,
    429: StorageErrorKind.UNAVAILABLE,
    507: StorageErrorKind.FULL,
}

# What a server may answer to HEAD though GET would succeed (an address signed for GET only, an old server).
_HEAD_REFUSALS = {400, 401, 403, 404, 405, 501}

_REASON_CHARACTERS = 300

# Small, because only when one is taken is it known that an upload moves.
_PIECE_BYTES = 64 << 10
# The system takes no more than this before the peer does, about, for the same reason.
_SEND_BUFFER_BYTES = 256 << 10

_SECRETS_IN_URL = re.compile(r"^(https?://)(?:[^/?#]*@)?([^?#]*).*", re.DOTALL)
_QUERY_IN_TEXT = re.compile(r"\?[^\s\"'<>]+")


class _Upload(aiohttp.Payload):
    """A file as the body of a request, which tells how far it is; sent again, it begins anew.

    Args:
        file: the content.
        on_piece: called whenever a piece of it is taken.
        on_end: called when all of it is taken.
    """

    def __init__(self, file: Path, *, on_piece: Callable[[], None], on_end: Callable[[], None]) -> None:
        super().__init__(file)
        self._file = file
        self._on_piece = on_piece
        self._on_end = on_end

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not needed: it is no text."""
        raise TypeError("a file to upload is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it."""
        with self._file.open("rb", buffering=0) as content:
            while piece := await asyncio.to_thread(content.read, _PIECE_BYTES):
                await writer.write(piece)
                self._on_piece()
        self._on_end()


class HttpStorage(Storage):
    """One URL, or the files under it.

    Args:
        url: of the file itself, when paths are empty; else of the folder.
        headers: called for every request, so that a rotated token is noticed.
        timeouts: how long to wait.
        use_proxy: whether the environment's proxy settings count.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - immutable
        use_proxy: bool = False,
    ) -> None:
        self._url = url
        self._headers = headers
        self._timeouts = timeouts
        self._use_proxy = use_proxy
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=_socket),
            trust_env=self._use_proxy,
            auto_decompress=False,
            requote_redirect_url=False,  # signed addresses must stay as they are
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    def address(self, path: str) -> str:
        """The file's URL without what may be secret: user, password, query."""
        return public_url(self._file_url(path))

    async def stat(self, path: str) -> Stat:
        """What the file is, by HEAD; by the first byte of a GET where HEAD is refused."""
        async with self._request("HEAD", path) as response:
            if response.status not in _HEAD_REFUSALS:
                await self._check(response, path)
                return _stat(response)
        async with self._request("GET", path, {"Range": "bytes=0-0"}) as response:
            if response.status == 416:  # an empty file has no first byte
                return Stat(size=0, etag=response.headers.get("ETag"), modified=_modified(response))
            await self._check(response, path)
            return _stat(response)

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[Reading]:
        """The file's content, in pieces."""
        async with self._request("GET", path) as response:
            await self._check(response, path)
            yield Reading(stat=_stat(response), chunks=self._chunks(response, path))

    async def write(self, path: str, file: Path, *, size: int, sha256: str, vouches_for: int = 0) -> None:
        """Upload by PUT, with the digest for the server to check (RFC 9530)."""
        headers = {
            "Content-Digest": content_digest(sha256),
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
        }
        now, silence = asyncio.get_running_loop().time, self._timeouts.silence
        with self._translated(path):
            async with asyncio.timeout(self._timeouts.connect + silence) as patience:

                def wait(seconds: float) -> None:
                    with suppress(RuntimeError):  # the request has ended already
                        patience.reschedule(now() + seconds)

                upload = _Upload(
                    file,
                    on_piece=lambda: wait(silence),
                    on_end=lambda: wait(self._timeouts.answer(size + vouches_for)),
                )
                async with self._request("PUT", path, headers, upload) as response:
                    await self._check(response, path)

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, upload: _Upload | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._client is None:
            raise RuntimeError("use the storage as an async context manager")
        # A compressed answer would have another length and another ETag.
        all_headers = {"Accept-Encoding": "identity", **self._headers(), **(headers or {})}
        request = self._client.request(
            method,
            url_of(self._file_url(path)),
            headers=all_headers,
            data=upload,
            allow_redirects=method != "PUT",
            # aiohttp's watch over silence begins when all is sent; `write` has its own.
            timeout=self._client_timeout(silence=None if upload else self._timeouts.silence),
        )
        with self._translated(path):
            async with request as response:
                yield response

    def _client_timeout(self, silence: float | None) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=None, connect=None, sock_connect=self._timeouts.connect, sock_read=silence)

    async def _check(self, response: aiohttp.ClientResponse, path: str) -> None:
        status = response.status
        if status < 300:
            return
        trouble = _STATUSES.get(
            status, StorageErrorKind.UNAVAILABLE if status >= 500 else StorageErrorKind.INVALID_REQUEST
        )
        said = ""
        if response.content_type == "text/plain" and response.method != "HEAD":
            text = (await response.content.read(4 * _REASON_CHARACTERS)).decode(errors="replace")
            said = f" ({public_text(' '.join(text.split()))[:_REASON_CHARACTERS]})"
        raise StorageError(trouble, f"{self.address(path)} answers {status} {response.reason}{said}")

    async def _chunks(self, response: aiohttp.ClientResponse, path: str) -> AsyncIterator[bytes]:
        with self._translated(path):
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                yield chunk

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            trouble, phrase = next((trouble, phrase) for kind, trouble, phrase in _TROUBLES if isinstance(error, kind))
            silent = trouble is StorageErrorKind.TIMEOUT
            detail = f"not a byte for {self._timeouts.silence:g} s" if silent else _detail(error)
            raise StorageError(trouble, f"{self.address(path)}: {phrase}{f' ({detail})' if detail else ''}") from error

    def _file_url(self, path: str) -> str:
        return f"{self._url.rstrip('/')}/{quote(path)}" if path else self._url


def url_of(text: str) -> URL:
    """A URL exactly as it is written, since it may be signed; only what is not ASCII is encoded.

    Raises:
        ValueError: when it is none.
    """
    url = URL(text, encoded=text.isascii())
    if not url.host or url.port is None:  # both are parsed here, and not before
        raise ValueError("it names no host")
    return url


def public_url(url: str) -> str:
    """A URL for logs and status: user, password, query and fragment, which may be secret, are left out."""
    return _SECRETS_IN_URL.sub(r"\1\2", url)


def public_text(text: str) -> str:
    """Somebody else's words for logs and status: what may be secret in addresses, their queries, is left out."""
    return _QUERY_IN_TEXT.sub("", text)


def content_digest(sha256: str) -> str:
    """A hex sha256 as the value of a Content-Digest header."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    return made


def _detail(error: BaseException) -> str:
    """What the system says of a failed connection; empty when it says nothing."""
    match getattr(error, "certificate_error", None) or getattr(error, "os_error", None):
        case ssl.SSLCertVerificationError() as cause:
            return cause.verify_message
        case ssl.SSLError() as cause:  # whose number is OpenSSL's, not the system's
            return (cause.reason or "").lower().replace("_", " ")
        case socket.gaierror() as cause:  # and this one's the resolver's
            return cause.strerror or ""
        case OSError(errno=int(number)):
            return os.strerror(number)
    return ""


def _stat(response: aiohttp.ClientResponse) -> Stat:
    size = response.content_length
    if response.status == 206:  # "bytes 0-0/1234"
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        size = int(total) if total.isdigit() else None
    return Stat(size=size, etag=response.headers.get("ETag"), modified=_modified(response))


def _modified(response: aiohttp.ClientResponse) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["Last-Modified"])
    except (KeyError, ValueError):
        return None
