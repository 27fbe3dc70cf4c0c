"""Ports on loopback for servers that must be told theirs before they start."""

import socket
import weakref


class Port:
    """A port that nobody else is given for as long as this object lives, between two lives of its server either.

    It is bound, and nobody listens: whoever names the port may listen there all the same, as long as he sets
    SO_REUSEADDR, which asyncio and Go do by themselves.
    """

    def __init__(self) -> None:
        keeper = socket.socket()
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        self.number: int = keeper.getsockname()[1]
        weakref.finalize(self, keeper.close)
