"""Connections whose every error is JSON, also those that aiohttp finds before a handler sees the request.

aiohttp answers a request that is not valid HTTP with plain text, and does not tell a handler that waits for the body of
such a request. This module replaces both.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import _ErrInfo

from keras_server.errors import InternalError
from keras_server.http_front.responses import error_response

MAX_LINE_BYTES = 8 * 1024
"""Maximum length of the request line: the method and the URL."""
MAX_HEADER_BYTES = 8 * 1024 - 2
"""Maximum length of one header. It differs from that of the line, because aiohttp reports only which limit it was."""
MAX_HEADERS = 128

log = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = ("_body",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to parse requests."""
        self._body: StreamReader | None = None
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived. If it is not valid HTTP, the request whose body it belongs to fails."""
        super().data_received(data)
        if not self._messages:
            return
        message, body = self._messages[-1]
        if not isinstance(message, _ErrInfo):
            self._body = body
        elif self._body is not None and not self._body.is_eof():
            self._body.set_exception(web.RequestPayloadError(describe(message.exc, message.message)[1]))
            self._body.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that is not valid HTTP, or whose handler failed. The connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun already")
        if isinstance(exc, BadHttpMessage):
            status, text = describe(exc, message or "")
        else:
            log.error("%s %s failed unexpectedly", request.method, request.path, exc_info=exc)
            status, text = HTTPStatus.INTERNAL_SERVER_ERROR, str(InternalError())
        response = error_response(text, status)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response."""
        if isinstance(resp, web.HTTPException):  # aiohttp rejects an Expect header before it calls a handler
            resp = error_response(
                f"the header Expect: {request.headers.get(hdrs.EXPECT)} is not supported", resp.status
            )
        if request.content.exception() is not None:
            resp.force_close()  # where the next request would begin is unknown
        return await super().finish_response(request, resp, start_time)


class _Server(web.Server):
    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application on connections of this module.

    Args:
        application: the application. It decompresses bodies itself.
        shutdown_timeout: seconds for the last responses to be sent.
    """

    def __init__(self, application: web.Application, *, shutdown_timeout: float) -> None:
        super().__init__(
            application,
            handle_signals=False,
            access_log=None,
            # A request whose client has gone away leaves the queue.
            handler_cancellation=True,
            shutdown_timeout=shutdown_timeout,
            auto_decompress=False,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return _Server(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            **server._kwargs,
        )


def describe(error: BaseException, message: str) -> tuple[int, str]:
    """Status and text for a request that is not valid HTTP."""
    if isinstance(error, LineTooLong):
        if error.args[1] == MAX_LINE_BYTES:
            return HTTPStatus.REQUEST_URI_TOO_LONG, f"the URL exceeds {MAX_LINE_BYTES} bytes"
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a header exceeds {MAX_HEADER_BYTES} bytes"
    # The parser's text has several lines: what is wrong, then the bytes of the request.
    text = " ".join(message.split("\n\n")[0].split())
    if text.startswith("Too many"):
        return (
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the request has more than {MAX_HEADERS} headers",
        )
    return HTTPStatus.BAD_REQUEST, f"the request is not valid HTTP: {text.rstrip(':.')}"
