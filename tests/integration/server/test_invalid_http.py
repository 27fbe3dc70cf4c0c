"""Every error is JSON, also where a request is not valid HTTP: bytes on a socket, and what the server answers."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web

from keras_server.http_front.connection import Runner

Serving = Callable[[str], Any]
PREDICT = "/v1/models/classifier:predict"
BODY = b'{"instances": [[1, 2, 3, 4]]}'


class RawAnswer(NamedTuple):
    """What came over the socket until the server closed it."""

    status: int
    headers: dict[str, str]
    body: bytes


def exchange(server: Any, *parts: bytes) -> RawAnswer:
    """Send bytes, each part after the server has received the one before, and read one answer to its end."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index, part in enumerate(parts):
            if index:
                assert server.get("/v2/health/live").status == 200  # the event loop has read what was sent before
            connection.sendall(part)
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(body) == int(headers["content-length"]), f"one answer: {received!r}"
    return RawAnswer(int(status.split()[1]), headers, body)


def post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [
        f"POST {PREDICT} HTTP/1.1",
        *("Host: x", "Connection: close", f"Content-Length: {len(body) if length is None else length}"),
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(*headers: str, line: str = "GET /v2/health/live HTTP/1.1") -> bytes:
    return "\r\n".join([line, "Host: x", "Connection: close", *headers, "", ""]).encode()


def is_error(answer: RawAnswer, status: int, words: str) -> None:
    assert answer.status == status
    assert answer.headers["content-type"].startswith("application/json")
    content = json.loads(answer.body)
    assert content.keys() == {"error"}
    assert words in content["error"]


CHUNKED = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()

INVALID = {
    "coding that does not exist": (post(BODY, "Content-Encoding: shrunk"), 415, "Content-Encoding 'shrunk' is not"),
    "brotli": (post(BODY, "Content-Encoding: br"), 415, "use gzip or deflate"),
    "zstd": (post(BODY, "Content-Encoding: zstd"), 415, "use gzip or deflate"),
    "two codings": (post(BODY, "Content-Encoding: gzip, gzip"), 415, "'gzip, gzip'"),
    "not gzip": (post(BODY, "Content-Encoding: gzip"), 400, "it is not gzip"),
    "not deflate": (post(BODY, "Content-Encoding: deflate"), 400, "it is not deflate"),
    "truncated gzip": (post(gzip.compress(BODY)[:-9], "Content-Encoding: gzip"), 400, "gzip data is truncated"),
    "truncated deflate": (post(zlib.compress(BODY)[:-5], "Content-Encoding: deflate"), 400, "data is truncated"),
    "gzip and more": (post(gzip.compress(BODY) + b"more", "Content-Encoding: gzip"), 400, "it is not gzip"),
    "many gzip members": (post(gzip.compress(b"") * 99, "Content-Encoding: gzip"), 400, "more than 16 gzip members"),
    "deflate and more": (post(zlib.compress(BODY) + b"more", "Content-Encoding: deflate"), 400, "4 bytes follow"),
    "long header": (get(f"A: {'a' * 9000}"), 431, "a header exceeds 8190 bytes"),
    "long header name": (get(f"{'A' * 9000}: a"), 431, "a header exceeds 8190 bytes"),
    "many headers": (get(*["A: a"] * 200), 431, "more than 128 headers"),
    "long URL": (get(line=f"GET /{'a' * 9000} HTTP/1.1"), 414, "the URL exceeds 8192 bytes"),
    "bad chunk": (CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n", 400, "Invalid character in chunk size"),
    "no request line": (b"hello\r\n\r\n", 400, "Invalid method"),
    "unknown method": (get(line="BREW / HTTP/1.1"), 400, "Invalid method"),
    "method that the path does not have": (get(line=f"DELETE {PREDICT} HTTP/1.1"), 405, "GET / lists the paths"),
    "unknown path": (get(line="GET /v3 HTTP/1.1"), 404, "GET / lists the paths"),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400, "Missing 'Host' header"),
    "unknown version": (get(line="GET / HTTP/7.7"), 400, "Invalid HTTP version"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "HTTPS traffic on an HTTP port"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not valid HTTP"),
    "two lengths": (post(BODY, "Content-Length: 3"), 400, "Content-Length"),
    "length and chunks": (post(BODY, "Transfer-Encoding: chunked"), 400, "Transfer-Encoding"),
    "length in words": (
        post(BODY, "X: y").replace(b"Content-Length: 29", b"Content-Length: many"),
        400,
        "Content-Length",
    ),
    "bytes in the URL": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "url"),
    "Expect": (post(BODY, "Expect: miracles"), 417, "the header Expect: miracles is not supported"),
}


@pytest.mark.parametrize(("sent", "status", "words"), INVALID.values(), ids=INVALID)
def test_a_request_that_is_not_valid_http_is_answered_in_json(
    serving: Serving, sent: bytes, status: int, words: str
) -> None:
    server = serving("classifier")

    is_error(exchange(server, sent), status, words)

    assert server.get("/v2/health/ready").status == 200
    assert not [record for record in server.log if "exception" in record], "the client's error is not the server's"


@pytest.mark.parametrize(
    "parts",
    [
        (CHUNKED, b"zz\r\n"),
        (CHUNKED, b"3\r\nabcdef\r\n"),
        (CHUNKED + b"3\r\n", b"abc\r\n", b"zz\r\n"),
        (CHUNKED + b"3\r\nabc\r\n0\r\n", b"bad trailer\r\n\r\n"),
    ],
    ids=["size", "end", "later", "trailer"],
)
def test_a_body_whose_chunks_are_invalid_is_answered_at_once(serving: Serving, parts: tuple[bytes, ...]) -> None:
    """And not only when the body had to have arrived, after a minute."""
    server = serving("classifier")

    is_error(exchange(server, *parts), 400, "the body cannot be read")

    assert not [record for record in server.log if "exception" in record]


def test_a_request_in_front_of_an_invalid_one_is_answered(serving: Serving) -> None:
    first = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", serving("classifier").port), timeout=30) as connection:
        connection.sendall(first)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"hello\r\n\r\n")
        assert b" 400 " in connection.recv(65536)
        assert connection.recv(65536) == b""


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(BODY), "gzip"),
        (gzip.compress(BODY), "GZIP"),
        (gzip.compress(BODY), "x-gzip"),
        (gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), "gzip"),
        (zlib.compress(BODY), "deflate"),
        (zlib.compress(BODY)[2:-4], "deflate"),
        (BODY, "identity"),
    ],
    ids=["gzip", "upper case", "x-gzip", "members", "deflate", "raw deflate", "identity"],
)
def test_every_coding_that_clients_use_is_read(serving: Serving, body: bytes, coding: str) -> None:
    assert exchange(serving("classifier"), post(body, f"Content-Encoding: {coding}")).status == 200


def test_an_unsupported_coding_is_answered_with_those_that_are_supported(serving: Serving) -> None:
    answer = exchange(serving("classifier"), post(BODY, "Content-Encoding: br"))

    assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_a_large_body_is_decompressed_too(serving: Serving) -> None:
    body = b'{"instances": [' + b"[1, 2, 3, 4], " * 4000 + b"[1, 2, 3, 4]]}" + b" " * 2**21

    answer = exchange(serving("classifier"), post(gzip.compress(body), "Content-Encoding: gzip"))

    assert (answer.status, len(json.loads(answer.body)["predictions"])) == (200, 4001)


async def test_an_error_that_the_application_does_not_catch_is_json_too(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: web.Request) -> web.Response:
        raise ValueError("a secret")

    application = web.Application()
    application.router.add_get("/", fail)
    runner = Runner(application, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            assert (answer.status, await answer.json()) == (500, {"error": "internal error; see the server's log"})
            assert answer.headers["Connection"] == "close"
    finally:
        await runner.cleanup()

    assert "a secret" in caplog.text
