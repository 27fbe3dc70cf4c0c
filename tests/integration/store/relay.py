"""A slow network in front of a real server: a TCP relay with limits for rate and amount."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PIECE = 16 << 10
# Small, because a slow network buffers little.
BUFFER = 64 << 10


@dataclass
class Relay:
    """Relays to a port of 127.0.0.1; its rates may change at any time."""

    port: int
    up: float = float("inf")
    """Bytes per second to the server."""
    down: float = float("inf")
    """Bytes per second from the server."""
    up_until: float = float("inf")
    """Total bytes to the server after which the relay stalls."""
    down_until: float = float("inf")
    """The same from the server."""
    connections: int = 0
    moved: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    url: str = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.port, limit=BUFFER)
        # When one direction or the test ends, the other direction is not needed.
        with suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, back, "up"), self._pass(there, writer, "down"))
        writer.close()
        back.close()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, way: str) -> None:
        while True:
            data = await source.read(PIECE)
            if not data:
                raise ConnectionResetError
            if self.moved[way] >= getattr(self, f"{way}_until"):
                await asyncio.sleep(3600)
            await asyncio.sleep(len(data) / getattr(self, way))
            self.moved[way] += len(data)
            target.write(data)
            await target.drain()


@asynccontextmanager
async def relay(url: str) -> AsyncIterator[Relay]:
    """A relay to a server; for as long as the context lasts."""
    made = Relay(int(url.rpartition(":")[2]))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(made.accept, sock=listener, limit=BUFFER)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
