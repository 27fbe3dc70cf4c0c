"""The client's side of the embedded store: HTTP with uploads."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from keras_api.manifest import MANIFEST_NAME, decode_manifest
from keras_store.storage.base import WritableStorage
from keras_store.storage.https import HttpStorage

# Small pieces, because progress of an upload is known only when a piece has been sent.
_PIECE_BYTES = 64 << 10
# The embedded store syncs an upload, and reads a bundle's files to check its manifest, at least at this speed.
_SLOWEST_DISK = 32 << 20  # bytes per second


class EmbeddedStorage(HttpStorage, WritableStorage):
    """The files of the embedded store.

    It answers the upload of a manifest after it has read all files of the bundle; the timeout of the answer depends on
    their size.
    """

    async def write(self, path: str, file: Path, *, size: int, sha256: str) -> None:
        """Upload by PUT, with the digest for the server to check (RFC 9530)."""
        headers = {
            "Content-Digest": content_digest(sha256),
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
        }
        checked = await asyncio.to_thread(_bundle_bytes, file) if path.endswith(f"/{MANIFEST_NAME}") else 0
        now, idle = asyncio.get_running_loop().time, self._timeouts.idle
        with self._translated(path):
            async with asyncio.timeout(self._timeouts.connect + idle) as deadline:

                def extend(seconds: float) -> None:
                    with suppress(RuntimeError):  # the request has ended already
                        deadline.reschedule(now() + seconds)

                upload = _Upload(
                    file,
                    on_piece=lambda: extend(idle),
                    on_end=lambda: extend(idle + (size + checked) / _SLOWEST_DISK),
                )
                async with self._request("PUT", path, headers, upload) as response:
                    await self._check(response, path)


class _Upload(aiohttp.Payload):
    """A file as the body of a request that reports its progress; a repeated request sends it from the beginning.

    Args:
        file: the content.
        on_piece: called after each piece that was sent.
        on_end: called after the last one.
    """

    def __init__(self, file: Path, *, on_piece: Callable[[], None], on_end: Callable[[], None]) -> None:
        super().__init__(file)
        self._file = file
        self._on_piece = on_piece
        self._on_end = on_end

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not needed: the body is not text."""
        raise TypeError("a file to upload is not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it."""
        with self._file.open("rb", buffering=0) as content:
            while piece := await asyncio.to_thread(content.read, _PIECE_BYTES):
                await writer.write(piece)
                self._on_piece()
        self._on_end()


def content_digest(sha256: str) -> str:
    """A hex sha256 as the value of a Content-Digest header."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def _bundle_bytes(manifest: Path) -> int:
    return sum(record.size_bytes for record in decode_manifest(manifest.read_bytes()).files)
