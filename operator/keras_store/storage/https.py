"""Files of HTTP servers."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from keras_store.atomic_file import CHUNK_BYTES
from keras_store.errors import StorageError, StorageErrorKind
from keras_store.redaction import public_text, public_url
from keras_store.storage.base import Reading, Stat, Storage, Timeouts

# The first match wins: many of aiohttp's errors are instances of several of these classes.
_ERRORS: list[tuple[type[BaseException], StorageErrorKind, str]] = [
    (aiohttp.ClientConnectorDNSError, StorageErrorKind.UNREACHABLE, "the host does not resolve"),
    (aiohttp.ClientConnectorCertificateError, StorageErrorKind.UNTRUSTED, "the server's certificate is not trusted"),
    (aiohttp.ClientSSLError, StorageErrorKind.UNTRUSTED, "no TLS connection"),
    (aiohttp.ClientProxyConnectionError, StorageErrorKind.UNREACHABLE, "the proxy does not answer"),
    (aiohttp.ConnectionTimeoutError, StorageErrorKind.UNREACHABLE, "the connection timed out"),
    (TimeoutError, StorageErrorKind.TIMEOUT, "no answer in time"),
    (aiohttp.ClientConnectorError, StorageErrorKind.UNREACHABLE, "no connection"),
    (aiohttp.ClientPayloadError, StorageErrorKind.UNAVAILABLE, "the connection closed before the end of the response"),
    (aiohttp.ServerDisconnectedError, StorageErrorKind.UNAVAILABLE, "the server closed the connection"),
    (aiohttp.TooManyRedirects, StorageErrorKind.INVALID_REQUEST, "too many redirects"),
    (aiohttp.RedirectClientError, StorageErrorKind.INVALID_REQUEST, "redirected to an address that is not HTTP"),
    (aiohttp.InvalidURL, StorageErrorKind.INVALID_REQUEST, "not a URL"),
    (aiohttp.ClientOSError, StorageErrorKind.UNAVAILABLE, "the connection failed"),
    (aiohttp.ClientError, StorageErrorKind.UNAVAILABLE, "the server's response is invalid"),
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

# Statuses of a HEAD request for a file that GET may still return (a URL signed only for GET, an old server).
_HEAD_UNSUPPORTED = {400, 401, 403, 404, 405, 501}

_REASON_CHARACTERS = 300

# The system buffers about this much of an upload, so that progress is reported only for data that the peer receives.
_SEND_BUFFER_BYTES = 256 << 10


class HttpStorage(Storage):
    """One URL, or the files under it.

    Args:
        url: of the file, when paths are empty; otherwise of the folder.
        headers: called for every request, because a token may be rotated.
        timeouts: of requests.
        use_proxy: whether the proxy settings of the environment apply.
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
            requote_redirect_url=False,  # a signed URL must not change
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    def address(self, path: str) -> str:
        """The file's URL without the parts that may be secret: user, password and query."""
        return public_url(self._file_url(path))

    async def stat(self, path: str) -> Stat:
        """The file's metadata, by HEAD; by GET of the first byte where the server does not support HEAD."""
        async with self._request("HEAD", path) as response:
            if response.status not in _HEAD_UNSUPPORTED:
                await self._check(response, path)
                return _stat(response)
        async with self._request("GET", path, {"Range": "bytes=0-0"}) as response:
            if response.status == 416:  # an empty file has no first byte
                return Stat(size=0, etag=response.headers.get("ETag"), modified=_modified(response))
            await self._check(response, path)
            return _stat(response)

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[Reading]:
        """The file's content, in chunks."""
        async with self._request("GET", path) as response:
            await self._check(response, path)
            yield Reading(stat=_stat(response), chunks=self._chunks(response, path))

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: aiohttp.Payload | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._client is None:
            raise RuntimeError("use the storage as an async context manager")
        # A compressed response would have another length and another ETag.
        all_headers = {"Accept-Encoding": "identity", **self._headers(), **(headers or {})}
        request = self._client.request(
            method,
            url_of(self._file_url(path)),
            headers=all_headers,
            data=body,
            allow_redirects=body is None,
            # aiohttp's idle timeout begins after the body has been sent; the caller that sends one has its own.
            timeout=self._client_timeout(idle=None if body else self._timeouts.idle),
        )
        with self._translated(path):
            async with request as response:
                yield response

    def _client_timeout(self, idle: float | None) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=None, connect=None, sock_connect=self._timeouts.connect, sock_read=idle)

    async def _check(self, response: aiohttp.ClientResponse, path: str) -> None:
        status = response.status
        if status < 300:
            return
        other = StorageErrorKind.UNAVAILABLE if status >= 500 else StorageErrorKind.INVALID_REQUEST
        kind = _STATUSES.get(status, other)
        reason = ""
        if response.content_type == "text/plain" and response.method != "HEAD":
            text = (await response.content.read(4 * _REASON_CHARACTERS)).decode(errors="replace")
            reason = f" ({public_text(' '.join(text.split()))[:_REASON_CHARACTERS]})"
        raise StorageError(kind, f"{self.address(path)} answers {status} {response.reason}{reason}")

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
            kind, phrase = next((kind, phrase) for cls, kind, phrase in _ERRORS if isinstance(error, cls))
            idle = kind is StorageErrorKind.TIMEOUT
            detail = f"no data for {self._timeouts.idle:g} s" if idle else _detail(error)
            raise StorageError(kind, f"{self.address(path)}: {phrase}{f' ({detail})' if detail else ''}") from error

    def _file_url(self, path: str) -> str:
        return f"{self._url.rstrip('/')}/{quote(path)}" if path else self._url


def url_of(text: str) -> URL:
    """A URL exactly as it is written, because it may be signed; only characters that are not ASCII are encoded.

    Raises:
        ValueError: when the text is not a URL.
    """
    url = URL(text, encoded=text.isascii())
    if not url.host or url.port is None:  # yarl parses both only now
        raise ValueError("it has no host")
    return url


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    return made


def _detail(error: BaseException) -> str:
    """The system's text for a failed connection; empty when there is none."""
    match getattr(error, "certificate_error", None) or getattr(error, "os_error", None):
        case ssl.SSLCertVerificationError() as cause:
            return cause.verify_message
        case ssl.SSLError() as cause:  # its number is OpenSSL's, not the system's
            return (cause.reason or "").lower().replace("_", " ")
        case socket.gaierror() as cause:  # its number is the resolver's
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
