"""Large bodies are compressed and decompressed off the event loop, small ones on it."""

from __future__ import annotations

import gzip
import threading
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from keras_server.errors import TooLargeError
from keras_server.http_front import compression
from keras_server.http_front.bodies import COMPRESSION_COST, INLINE_BYTES, Bodies

LARGE = INLINE_BYTES // COMPRESSION_COST + 1


class Spy:
    """A codec that remembers its thread."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self.thread = ""

    def __call__(self, *arguments: Any) -> Any:
        self.thread = threading.current_thread().name
        return self._codec(*arguments)

    @property
    def on_the_event_loop(self) -> bool:
        return self.thread == threading.current_thread().name


class Received:
    """A body that has arrived."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def set_read_chunk_size(self, size: int) -> None:
        """Part of the interface."""

    async def readany(self) -> bytes:
        body, self._body = self._body, b""
        return body


@pytest.mark.parametrize(("size", "inline"), [(5000, True), (LARGE, False)], ids=["small", "large"])
async def test_a_large_response_is_compressed_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, size: int, inline: bool
) -> None:
    monkeypatch.setattr(compression, "compress", spy := Spy(compression.compress))
    response = web.Response(body=b"0" * size)

    await Bodies(max_bytes=2**26, timeout=1).compress(response, "gzip")

    assert gzip.decompress(response.body) == b"0" * size  # type: ignore[arg-type]
    assert response.headers["Content-Encoding"] == "gzip"
    assert spy.on_the_event_loop is inline


@pytest.mark.parametrize(("size", "inline"), [(5000, True), (INLINE_BYTES + 1, False)], ids=["small", "large"])
async def test_a_body_with_large_content_is_decompressed_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, size: int, inline: bool
) -> None:
    monkeypatch.setattr(compression, "decompress", spy := Spy(compression.decompress))
    request = make_mocked_request(
        "POST", "/", headers={"Content-Encoding": "gzip"}, payload=Received(gzip.compress(b"0" * size))
    )

    assert await Bodies(max_bytes=2**26, timeout=1).read(request) == b"0" * size
    assert spy.on_the_event_loop is inline


async def test_content_is_limited_although_its_body_is_small() -> None:
    body = Received(gzip.compress(b"0" * 5000))
    request = make_mocked_request("POST", "/", headers={"Content-Encoding": "gzip"}, payload=body)

    with pytest.raises(TooLargeError):
        await Bodies(max_bytes=4999, timeout=1).read(request)
