"""The socket that is there before the server."""

from __future__ import annotations

import socket

import pytest

from keras_server.listener import ListenError, listen


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_connection_before_the_server_starts_is_answered(host: str) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5) as early:
            early.sendall(b"GET")
            late, _ = listener.accept()
            with late:
                assert late.recv(3) == b"GET"


def test_a_port_whose_last_owner_has_just_gone_can_be_had() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            listener.accept()[0].close()  # which leaves the port in TIME_WAIT
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "why"),
    [("192.0.2.1", "Cannot assign requested address"), ("no-such-host.invalid", "(Name or service|Temporary)")],
)
def test_an_address_that_is_not_ours_is_named(host: str, why: str) -> None:
    with pytest.raises(ListenError, match=rf"^{host}, port 8080: {why}"):
        listen(host, 8080)
