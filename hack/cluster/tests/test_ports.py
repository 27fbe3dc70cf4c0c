"""A port is reserved for its server, also while the server restarts."""

import gc
import socket

import pytest
from cluster.ports import Port


def test_a_server_can_listen_on_its_port_repeatedly() -> None:
    port = Port()
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port.number)), socket.create_connection(("127.0.0.1", port.number)):
            pass


def test_a_reserved_port_has_no_listener() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", Port().number))


def test_the_kernel_does_not_give_a_reserved_port_to_others() -> None:
    port = Port()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # IP_LOCAL_PORT_RANGE: this is the only port that the kernel can choose.
        other.setsockopt(socket.IPPROTO_IP, 51, (port.number << 16 | port.number).to_bytes(4, "little"))
        with pytest.raises(OSError, match="Address already in use"):
            other.bind(("127.0.0.1", 0))


def test_a_port_is_released_with_its_object() -> None:
    number = Port().number
    gc.collect()
    with socket.socket() as other:
        other.bind(("127.0.0.1", number))
