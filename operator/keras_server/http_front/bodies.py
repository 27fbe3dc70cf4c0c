"""Bodies of requests and answers: read within limits, and if large, processed without holding up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from aiohttp import web

from keras_server.errors import InvalidRequestError, SlowRequestError, TooLargeError
from keras_server.http_front import compression
from keras_server.http_front.responses import add_vary

P = ParamSpec("P")
T = TypeVar("T")

INLINE_BYTES = 1024 * 1024
"""Bodies up to this size are decoded and encoded on the event loop.

Measured on one core of an AMD EPYC processor: a MiB of JSON with float32 numbers takes 4 ms to decode and 2.5 ms to
encode. A call in another thread takes 0.11 ms more, 0.04 ms of it CPU time; for binary tensors of 600 KiB, which are
hardly decoded at all, that was 13 % more CPU time for a request. Above this size other requests would wait too long: a
body of 60 MiB would keep the event loop, and so the health probes, waiting for 0.35 s.
"""

JSON_GROWTH = 4
"""Size of float32 numbers in JSON, as a multiple of their size in memory."""


COMPRESSION_COST = 4
"""Time to compress JSON, as a multiple of the time to encode it."""


class Bodies:
    """Reads, decodes and encodes bodies.

    Args:
        max_bytes: maximum size of a request's body, after decompression.
        timeout: seconds for a request's body to arrive.
    """

    def __init__(self, *, max_bytes: int, timeout: float) -> None:
        self.max_bytes = max_bytes
        self._timeout = timeout
        # More threads would compete for the interpreter's lock, with each other and with the event loop.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="codec")
        # zlib does not hold that lock. One thread, so that compression never takes more than one CPU.
        self._compressor = ThreadPoolExecutor(1, thread_name_prefix="compression")

    async def read(self, request: web.Request) -> bytes:
        """The content of a request's body, decompressed.

        Raises:
            SlowRequestError, TooLargeError, UnsupportedEncodingError, InvalidRequestError: it cannot be read.
        """
        coding = compression.coding_of(request.headers.get("Content-Encoding", ""))
        body = await self._receive(request)
        if coding == compression.IDENTITY:
            return body
        if len(body) <= INLINE_BYTES:
            with suppress(TooLargeError):
                return compression.decompress(body, coding, min(INLINE_BYTES, self.max_bytes))
        return await self._off_loop(self._compressor, compression.decompress, body, coding, self.max_bytes)

    async def compress(self, response: web.Response, accept: str) -> None:
        """Compress the body of a response, if it is long enough and the client accepts a coding."""
        body = response.body
        if not isinstance(body, bytes) or len(body) < compression.MIN_BYTES:
            return
        add_vary(response, "Accept-Encoding")
        coding = compression.choose(accept)
        if coding is None:
            return
        if COMPRESSION_COST * len(body) <= INLINE_BYTES:
            compressed = compression.compress(body, coding)
        else:
            compressed = await self._off_loop(self._compressor, compression.compress, body, coding)
        if compressed is not None:
            response.body = compressed
            response.headers["Content-Encoding"] = coding

    async def _receive(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                return await request.read()
        except TimeoutError as error:
            raise SlowRequestError(f"the body did not arrive within {self._timeout:g} s") from error
        except web.HTTPRequestEntityTooLarge as error:
            raise TooLargeError(self.max_bytes) from error
        except web.RequestPayloadError as error:
            raise InvalidRequestError(f"the body cannot be read: {error}") from error

    async def process(self, size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a decoder or encoder for a body of that size: on the event loop, or for a large body off it."""
        if size <= INLINE_BYTES:
            return function(*args, **kwargs)
        return await self._off_loop(self._executor, function, *args, **kwargs)

    async def _off_loop(
        self, executor: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await asyncio.wrap_future(executor.submit(function, *args, **kwargs))
