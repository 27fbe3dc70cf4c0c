"""The socket on which the server listens, opened before anything else."""

from __future__ import annotations

import os
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
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name such as localhost may have addresses of both families, of which clients know the older one.
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except socket.gaierror as error:
        raise ListenError(f"{host}, port {port}: {error.strerror}") from error
    except OSError as error:
        # What the library adds to these words is the address once more.
        raise ListenError(f"{host}, port {port}: {os.strerror(error.errno or 0)}") from error
