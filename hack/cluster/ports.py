"""Loopback ports for servers that need their port before they start."""

import socket
import weakref


class Port:
    """A port that the kernel gives to no other process while this object exists, also while its server restarts.

    The port is bound without a listener. A server can still listen on it with SO_REUSEADDR, which asyncio and Go set by
    default.
    """

    def __init__(self) -> None:
        keeper = socket.socket()
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        self.number: int = keeper.getsockname()[1]
        weakref.finalize(self, keeper.close)
