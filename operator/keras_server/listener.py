"""The socket on which the server listens, opened before everything else."""

from __future__ import annotations

import os
import socket

BACKLOG = 1024


class ListenError(Exception):
    """The server cannot listen on the port; the text gives the reason."""


def listen(host: str, port: int) -> socket.socket:
    """Let the kernel accept connections: early clients wait in the backlog, and are not refused.

    Raises:
        ListenError: the server cannot listen on the port.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name such as localhost may have addresses of both families; clients use the older one.
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except socket.gaierror as error:
        raise ListenError(f"{host}, port {port}: {error.strerror}") from error
    except OSError as error:
        # The library would add the address a second time.
        raise ListenError(f"{host}, port {port}: {os.strerror(error.errno or 0)}") from error
