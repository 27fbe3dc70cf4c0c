"""The HTTP application: its routes, and the way of an inference request from bytes to bytes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from keras_server.dataplane import DataPlane, Front, byte_size
from keras_server.errors import InternalError, InvalidRequestError, ServerError
from keras_server.health import Health, State
from keras_server.http_front.bodies import JSON_GROWTH, Bodies
from keras_server.http_front.connection import Runner
from keras_server.http_front.cors import Cors
from keras_server.http_front.errors import status_of
from keras_server.http_front.responses import error_response, json_response
from keras_server.metrics import Metrics
from keras_server.model import ModelInfo
from keras_server.protocols import PROTOCOLS
from keras_server.protocols.base import Protocol
from keras_server.protocols.oip import SERVER_NAME

# A colon starts a verb, such as :predict, and is not part of a name or a version.
_NAME, _VERSION = "{name:[^{}/:]+}", "{version:[^{}/:]+}"

MAX_WAIT_SECONDS = 60
"""Maximum long-poll time of /v2/health/ready."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)


class HttpApp:
    """Answers HTTP requests from the data plane.

    Args:
        name: the model's name.
        plane: the data plane.
        health: the state of the server.
        metrics: for the metrics page.
        bodies: reads, decodes and encodes bodies.
        protocols: that the paths of models follow.
        cors: the web pages that may send requests.
    """

    def __init__(
        self,
        *,
        name: str,
        plane: DataPlane,
        health: Health,
        metrics: Metrics,
        bodies: Bodies,
        protocols: tuple[Protocol, ...] = PROTOCOLS,
        cors: Cors | None = None,
    ) -> None:
        self._name = name
        self._plane = plane
        self._health = health
        self._metrics = metrics
        self._bodies = bodies
        self._protocols = protocols
        self._cors = cors or Cors(())

    def runner(self, *, shutdown_timeout: float) -> Runner:
        """Runs the application.

        Args:
            shutdown_timeout: seconds for the last responses to be sent.
        """
        return Runner(self.application(), shutdown_timeout=shutdown_timeout)

    def application(self) -> web.Application:
        """The application with all its routes."""
        app = web.Application(middlewares=[self._finish, self._answer_errors], client_max_size=self._bodies.max_bytes)
        app.router.add_get("/", self._index)
        app.router.add_get("/metrics", self._expose_metrics)
        app.router.add_get("/v2/health/live", self._live)
        app.router.add_get("/v2/health/ready", self._ready)
        for protocol in self._protocols:
            for path, server_page in protocol.server_pages.items():
                app.router.add_get(path, self._server_page(server_page))
            for (method, path), server_report in protocol.server_reports.items():
                app.router.add_route(method, path, self._server_report(server_report))
            for model in (f"{protocol.models}/{_NAME}", f"{protocol.models}/{_NAME}/versions/{_VERSION}"):
                app.router.add_post(f"{model}{protocol.verb}", self._infer(protocol))
                for suffix, model_page in protocol.model_pages.items():
                    app.router.add_get(f"{model}{suffix}", self._model_page(model_page))
                for suffix, model_report in protocol.model_reports.items():
                    app.router.add_get(f"{model}{suffix}", self._model_report(model_report))
        return app

    def _infer(self, protocol: Protocol) -> Handler:
        front = Front(protocol.name, status_of)

        async def handler(request: web.Request) -> web.Response:
            route = request.match_info
            with self._plane.admit(front, route["name"], route.get("version"), request.content_length) as call:
                body = await self._bodies.read(request)
                exchange = await self._bodies.process(len(body), protocol.decode, body, request.headers, call.info)
                response = await call.infer(exchange.request)
                size = JSON_GROWTH * sum(byte_size(array) for array in response.outputs.values())
                answer = await self._bodies.process(size, exchange.encode, response)
            return web.Response(body=answer.content, content_type=answer.content_type, headers=answer.headers)

        return handler

    def _model_page(self, page: Callable[[Any, Health], Any]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            model = self._plane.describe(request.match_info["name"], request.match_info.get("version"))
            return json_response(page(model, self._health))

        return handler

    def _model_report(self, report: Callable[[DataPlane, ModelInfo], Any]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            model = self._plane.describe(request.match_info["name"], request.match_info.get("version"))
            return json_response(report(self._plane, model))

        return handler

    def _server_page(self, page: Callable[[], Any]) -> Handler:
        async def handler(_: web.Request) -> web.Response:
            return json_response(page())

        return handler

    def _server_report(self, report: Callable[[DataPlane, bytes], Any]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            return json_response(report(self._plane, await self._bodies.read(request)))

        return handler

    async def _index(self, _: web.Request) -> web.Response:
        info = self._plane.info
        return json_response(
            {
                "server": SERVER_NAME,
                "model": self._name,
                "revision": info.revision if info else None,
                "state": self._health.state,
                **{protocol.title: protocol.list_paths(self._name) for protocol in self._protocols},
                "metrics": "/metrics",
            }
        )

    async def _expose_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.expose(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _live(self, _: web.Request) -> web.Response:
        return json_response({"live": True})

    async def _ready(self, request: web.Request) -> web.Response:
        # Long poll, so that the pod becomes ready when loading ends and not at the kubelet's next probe.
        await self._health.settle(_seconds_to_wait(request))
        self._health.require_ready()
        return json_response({"ready": True})

    @web.middleware
    async def _finish(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What all responses have in common: compression, the headers for browsers, and the end of the connection."""
        if self._cors.is_preflight(request):
            response: web.StreamResponse = self._cors.preflight(request)
        else:
            response = await handler(request)
        if isinstance(response, web.Response):
            await self._bodies.compress(response, request.headers.get("Accept-Encoding", ""))
        self._cors.add_headers(request, response)
        if self._health.state is State.DRAINING:
            # A client that keeps connections open opens its next one to another server.
            response.force_close()
        return response

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:  # an unknown path, or a method that the path does not have
            text = f"{request.method} {request.path} does not exist; GET / lists the paths"
            response = error_response(text, error.status)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except ServerError as error:
            return error_response(str(error), status_of(error.code))
        except Exception:
            log.exception("%s %s failed unexpectedly", request.method, request.path)
            return error_response(str(InternalError()), status_of(InternalError.code))


def _seconds_to_wait(request: web.Request) -> float:
    text = request.query.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= MAX_WAIT_SECONDS:  # NaN is not
        raise InvalidRequestError(f"wait={text!r} in the URL must be a number of seconds, 0 to {MAX_WAIT_SECONDS}")
    return seconds
