"""A port that is kept: for its server, as often as that starts, and for nobody else."""

import gc
import socket

import pytest
from cluster.ports import Port


def test_its_server_may_listen_there_again_and_again() -> None:
    port = Port()
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port.number)), socket.create_connection(("127.0.0.1", port.number)):
            pass


def test_until_then_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", Port().number))


def test_whoever_asks_for_any_port_gets_another() -> None:
    port = Port()
    with socket.socket() as asker:
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # IP_LOCAL_PORT_RANGE: any port, as long as it is this one.
        asker.setsockopt(socket.IPPROTO_IP, 51, (port.number << 16 | port.number).to_bytes(4, "little"))
        with pytest.raises(OSError, match="Address already in use"):
            asker.bind(("127.0.0.1", 0))


def test_it_is_let_go_with_its_object() -> None:
    number = Port().number
    gc.collect()
    with socket.socket() as other:
        other.bind(("127.0.0.1", number))
