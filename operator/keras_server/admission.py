"""Admission: how many requests, and how many bytes of them, may be here at once; more are turned away at the door."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from keras_server.errors import OverloadedError


class Admission:
    """Counts requests from before their body is read until they are answered.

    Args:
        max_requests: requests at once, those that wait for a worker included.
        max_bytes: sum of their bodies' sizes.
    """

    def __init__(self, *, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._bytes = 0
        self.requests = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Count one request of `size` bytes while the block runs.

        Raises:
            OverloadedError: when there is no room; a request alone always has room.
        """
        if self.requests >= self._max_requests:
            raise OverloadedError(f"{self.requests} requests are being answered, which is the limit; ask again shortly")
        if self.requests and self._bytes + size > self._max_bytes:
            raise OverloadedError(
                f"requests of {self._bytes} bytes are being answered; this one must wait: ask again shortly"
            )
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
        """Wait until no request is here."""
        await self._idle.wait()
