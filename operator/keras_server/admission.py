"""Admission: limits on the number of requests in flight, on their bytes, and on the bytes of one request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from keras_server.errors import OverloadedError, TooLargeError


class Admission:
    """Counts requests from before their body is read until they are answered.

    Args:
        max_requests: maximum number in flight, those that wait for a worker included.
        max_bytes: maximum sum of their sizes.
        max_request_bytes: maximum size of one request.
    """

    def __init__(self, *, max_requests: int, max_bytes: int, max_request_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._max_request_bytes = max_request_bytes
        self._bytes = 0
        self.requests = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def admit(self, size: int | None) -> Iterator[None]:
        """Count one request while the block runs.

        Args:
            size: of the request in bytes; None counts as the maximum.

        Raises:
            TooLargeError: the request exceeds the maximum size.
            OverloadedError: the server has reached a limit; a request alone is always admitted.
        """
        size = self._max_request_bytes if size is None else size
        if size > self._max_request_bytes:
            raise TooLargeError(self._max_request_bytes)
        if self.requests >= self._max_requests:
            raise OverloadedError(f"{self.requests} requests are in flight, which is the maximum: retry later")
        if self.requests and self._bytes + size > self._max_bytes:
            raise OverloadedError(f"requests of {self._bytes} bytes are in flight, near the maximum: retry later")
        self.requests += 1
        self._idle.clear()
        self._bytes += size
        try:
            yield
        finally:
            self.requests -= 1
            self._bytes -= size
            if not self.requests:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        await self._idle.wait()
