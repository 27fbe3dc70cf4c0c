"""The socket on which the server listens, opened before anything else."""

from __future__ import annotations

import socket

BACKLOG = 1024


class ListenError(Exception):
    """The port cannot be had; the text says why."""


def listen(host: str, port: int) -> socket.socket:
    """Have the kernel take connections; whoever comes early waits in the backlog, and is not refused.

    Raises:
        ListenError: when the port cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        # A port whose last owner has just gone can be had at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise ListenError(f"{host}, port {port}: {error.strerror}") from error
    return listener
