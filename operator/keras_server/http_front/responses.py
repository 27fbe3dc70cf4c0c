"""JSON responses, and the form of every error."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from keras_server.http_front.errors import headers_of


def json_response(content: Any, *, status: int = HTTPStatus.OK) -> web.Response:
    """A response with a JSON body."""
    return web.Response(
        body=msgspec.json.encode(content),
        status=status,
        headers=headers_of(status),
        content_type="application/json",
    )


def error_response(text: str, status: int) -> web.Response:
    """The response to a request that fails."""
    return json_response({"error": text}, status=status)


def add_vary(response: web.StreamResponse, header: str) -> None:
    """Declare that a response depends on a header of the request."""
    present = response.headers.get("Vary")
    response.headers["Vary"] = f"{present}, {header}" if present else header
