"""Cross-origin requests: which web pages may send requests from a browser, as the Fetch standard defines it."""

from __future__ import annotations

from aiohttp import web

from keras_server.http_front.responses import add_vary

ANY_ORIGIN = "*"

MAX_AGE_SECONDS = 7200
"""How long a browser may keep the answer to a preflight request; browsers accept no more than two hours."""

# Headers of responses that a page may read, besides those that every page may read.
_EXPOSED = "Inference-Header-Content-Length, Retry-After"


class Cors:
    """Adds the headers that allow requests of some origins.

    Args:
        origins: such as ``https://example.com``; ``*`` for all; empty for none.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origins)

    def is_preflight(self, request: web.Request) -> bool:
        """Whether a browser asks if it may send a request, and may."""
        return (
            request.method == "OPTIONS"
            and "Access-Control-Request-Method" in request.headers
            and self._allowed(request) is not None
        )

    def preflight(self, request: web.Request) -> web.Response:
        """The answer to a preflight request: any method and any header, because no request needs credentials."""
        headers = {
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
            "Vary": "Access-Control-Request-Headers",
        }
        if asked := request.headers.get("Access-Control-Request-Headers"):
            headers["Access-Control-Allow-Headers"] = asked
        return web.Response(status=204, headers=headers)

    def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers to a response."""
        if not self._origins:
            return
        if ANY_ORIGIN not in self._origins:
            add_vary(response, "Origin")
        if (origin := self._allowed(request)) is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED

    def _allowed(self, request: web.Request) -> str | None:
        """The value of the header that allows the request's origin; None if it is not allowed."""
        origin = request.headers.get("Origin")
        if origin is None or not self._origins:
            return None
        if ANY_ORIGIN in self._origins:
            return ANY_ORIGIN
        return origin if origin in self._origins else None
