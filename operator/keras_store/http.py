"""Files behind http and https: sources, and the client's side of the embedded store."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from keras_store.errors import StorageError, Trouble
from keras_store.storage import CHUNK_BYTES, Reading, Stat, Storage, Timeouts

# Most specific first: many of aiohttp's errors are of several of these kinds.
_TROUBLES: list[tuple[type[BaseException], Trouble, str]] = [
    (aiohttp.ClientConnectorDNSError, Trouble.UNREACHABLE, "the host does not resolve"),
    (aiohttp.ClientConnectorCertificateError, Trouble.UNTRUSTED, "the server's certificate is not trusted"),
    (aiohttp.ClientSSLError, Trouble.UNTRUSTED, "no TLS connection"),
    (aiohttp.ClientProxyConnectionError, Trouble.UNREACHABLE, "the proxy does not answer"),
    (aiohttp.ConnectionTimeoutError, Trouble.UNREACHABLE, "no connection in time"),
    (TimeoutError, Trouble.UNREACHABLE, "no answer in time"),
    (aiohttp.ClientConnectorError, Trouble.UNREACHABLE, "no connection"),
    (aiohttp.ClientPayloadError, Trouble.UNHEALTHY, "the answer broke off before its end"),
    (aiohttp.ServerDisconnectedError, Trouble.UNHEALTHY, "the server closed the connection"),
    (aiohttp.TooManyRedirects, Trouble.REFUSED, "redirected too often, in a circle perhaps"),
    (aiohttp.RedirectClientError, Trouble.REFUSED, "redirected to what is no http address"),
    (aiohttp.InvalidURL, Trouble.REFUSED, "not a URL"),
    (aiohttp.ClientOSError, Trouble.UNHEALTHY, "the connection broke"),
    (aiohttp.ClientError, Trouble.UNHEALTHY, "the server's answer is not understood"),
]

_STATUSES: dict[int, Trouble] = {
    401: Trouble.DENIED,
    403: Trouble.DENIED,
    404: Trouble.MISSING,
    408: Trouble.UNHEALTHY,
    409: Trouble.CONFLICT,
    410: Trouble.MISSING,
    425: Trouble.UNHEALTHY,
    429: Trouble.UNHEALTHY,
    507: Trouble.FULL,
}

# What a server may answer to HEAD though GET would succeed (an address signed for GET only, an old server).
_HEAD_REFUSALS = {400, 401, 403, 404, 405, 501}

_REASON_CHARACTERS = 300

_SECRETS_IN_URL = re.compile(r"^(https?://)(?:[^/?#]*@)?([^?#]*).*", re.DOTALL)
_QUERY_IN_TEXT = re.compile(r"\?[^\s\"'<>]+")


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
            timeout=aiohttp.ClientTimeout(
                total=None, connect=None, sock_connect=self._timeouts.connect, sock_read=self._timeouts.silence
            ),
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

    async def write(self, path: str, file: Path, *, size: int, sha256: str) -> None:
        """Upload by PUT, with the digest for the server to check (RFC 9530)."""
        headers = {"Content-Digest": content_digest(sha256), "Content-Type": "application/octet-stream"}
        with _translated(self.address(path)), file.open("rb") as content:
            async with asyncio.timeout(self._timeouts.upload(size)):
                async with self._request("PUT", path, headers, content) as response:
                    await self._check(response, path)

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._client is None:
            raise RuntimeError("use the storage as an async context manager")
        # A compressed answer would have another length and another ETag.
        all_headers = {"Accept-Encoding": "identity", **self._headers(), **(headers or {})}
        url = url_of(self._file_url(path))
        with _translated(self.address(path)):
            request = self._client.request(method, url, headers=all_headers, data=body, allow_redirects=method != "PUT")
            async with request as response:
                yield response

    async def _check(self, response: aiohttp.ClientResponse, path: str) -> None:
        status = response.status
        if status < 300:
            return
        trouble = _STATUSES.get(status, Trouble.UNHEALTHY if status >= 500 else Trouble.REFUSED)
        said = ""
        if response.content_type == "text/plain" and response.method != "HEAD":
            text = (await response.content.read(4 * _REASON_CHARACTERS)).decode(errors="replace")
            said = f" ({public_text(' '.join(text.split()))[:_REASON_CHARACTERS]})"
        raise StorageError(trouble, f"{self.address(path)} answers {status} {response.reason}{said}")

    async def _chunks(self, response: aiohttp.ClientResponse, path: str) -> AsyncIterator[bytes]:
        with _translated(self.address(path)):
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                yield chunk

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


@contextmanager
def _translated(address: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except (aiohttp.ClientError, TimeoutError) as error:
        trouble, phrase = next((trouble, phrase) for kind, trouble, phrase in _TROUBLES if isinstance(error, kind))
        detail = _detail(error)
        raise StorageError(trouble, f"{address}: {phrase}{f' ({detail})' if detail else ''}") from error


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
