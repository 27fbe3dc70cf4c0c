"""The HTTP application: routes, and the way of an inference request from bytes to bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from keras_server.admission import Admission
from keras_server.errors import (
    InvalidRequestError,
    NotReadyError,
    ServerError,
    SlowRequestError,
    TooLargeError,
    headers_of,
    status_of,
)
from keras_server.health import Health, State
from keras_server.logs import logger
from keras_server.metrics import Metrics
from keras_server.model import Model
from keras_server.protocols import oip, tfserving

# A colon begins a verb, as in :predict, and is no part of a name or a version.
_NAME, _VERSION = "{name:[^{}/:]+}", "{version:[^{}/:]+}"

# What nginx made the custom: the client went away before its answer. Only metrics see it.
CLIENT_CLOSED_REQUEST = 499

# For which somebody may have the answer about readiness held back.
MAX_WAIT_SECONDS = 60

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """Answers HTTP requests for one model.

    Args:
        name: the model's name in URLs.
        health: whether it answers.
        admission: how many requests may be here.
        metrics: where they are counted.
        max_body_bytes: bound of a request's body, after decompression.
        body_timeout: seconds for a body to arrive.
    """

    def __init__(
        self,
        *,
        name: str,
        health: Health,
        admission: Admission,
        metrics: Metrics,
        max_body_bytes: int,
        body_timeout: float,
    ) -> None:
        self._name = name
        self._model: Model | None = None
        self._health = health
        self._admission = admission
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._body_timeout = body_timeout

    def describe(self, model: Model) -> None:
        """Say which model is served, once its bundle is there; until then requests for it are answered with 503."""
        self._model = model

    def application(self) -> web.Application:
        """The application with all its routes."""
        app = web.Application(middlewares=[self._answer_errors], client_max_size=self._max_body_bytes)
        app.router.add_get("/", self._index)
        app.router.add_get("/metrics", self._expose_metrics)
        app.router.add_get("/v2", self._server_metadata)
        app.router.add_get("/v2/health/live", self._live)
        app.router.add_get("/v2/health/ready", self._ready)
        for model in (f"/v2/models/{_NAME}", f"/v2/models/{_NAME}/versions/{_VERSION}"):
            app.router.add_get(model, self._oip_metadata)
            app.router.add_get(f"{model}/ready", self._oip_ready)
            app.router.add_post(f"{model}/infer", self._counted("oip", self._oip_infer))
        for model in (f"/v1/models/{_NAME}", f"/v1/models/{_NAME}/versions/{_VERSION}"):
            app.router.add_get(model, self._tfserving_status)
            app.router.add_get(f"{model}/metadata", self._tfserving_metadata)
            app.router.add_post(f"{model}:predict", self._counted("tfserving", self._tfserving_predict))
        return app

    # Inference

    async def _oip_infer(self, request: web.Request) -> web.Response:
        model = self._serving_model(request)
        with self._admission.admit(_announced_size(request, self._max_body_bytes)):
            body = await self._body(request)
            call = oip.decode_request(body, request.headers.get(oip.JSON_LENGTH_HEADER), model.signature)
            outputs = await model.infer(call.inputs)
            answer, json_length = oip.encode_response(call, outputs, model=model.name, revision=model.revision)
        if json_length is None:
            return web.Response(body=answer, content_type="application/json")
        return web.Response(
            body=answer,
            content_type="application/octet-stream",
            headers={oip.JSON_LENGTH_HEADER: str(json_length)},
        )

    async def _tfserving_predict(self, request: web.Request) -> web.Response:
        model = self._serving_model(request)
        with self._admission.admit(_announced_size(request, self._max_body_bytes)):
            call = tfserving.decode_request(await self._body(request), model.signature)
            outputs = await model.infer(call.inputs)
            return web.Response(body=tfserving.encode_response(call, outputs), content_type="application/json")

    def _serving_model(self, request: web.Request) -> Model:
        model = self._expected_model(request)
        self._health.require_serving()
        return model

    def _expected_model(self, request: web.Request) -> Model:
        if self._model is None:
            raise self._health.not_ready()
        self._model.expect(request.match_info["name"], request.match_info.get("version"))
        return self._model

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._body_timeout):
                return await request.read()
        except TimeoutError as error:
            raise SlowRequestError(f"the body did not arrive within {self._body_timeout:g} s") from error
        except web.HTTPRequestEntityTooLarge as error:
            raise _too_large(self._max_body_bytes) from error
        except web.RequestPayloadError as error:
            raise InvalidRequestError(f"the body cannot be read: {error}") from error

    def _counted(self, protocol: str, handler: Handler) -> Handler:
        async def count(request: web.Request) -> web.StreamResponse:
            begin = time.perf_counter()
            code = int(HTTPStatus.OK)
            try:
                return await handler(request)
            except asyncio.CancelledError:
                code = CLIENT_CLOSED_REQUEST
                raise
            except Exception as error:
                code = int(status_of(error))
                raise
            finally:
                self._metrics.observe_request(protocol, code, time.perf_counter() - begin)

        return count

    # Health and descriptions

    async def _index(self, _: web.Request) -> web.Response:
        name = self._name
        return _json(
            {
                "server": oip.server_metadata()["name"],
                "model": name,
                "revision": self._model.revision if self._model else None,
                "state": self._health.state,
                "open_inference_protocol": [f"/v2/models/{name}", f"/v2/models/{name}/infer", "/v2/health/ready"],
                "tensorflow_serving": [f"/v1/models/{name}/metadata", f"/v1/models/{name}:predict"],
                "metrics": "/metrics",
            }
        )

    async def _expose_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.expose(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _server_metadata(self, _: web.Request) -> web.Response:
        return _json(oip.server_metadata())

    async def _live(self, _: web.Request) -> web.Response:
        return _json({"live": True})

    async def _ready(self, request: web.Request) -> web.Response:
        # Who looks only now and then, as the kubelet does, learns of the end of loading when it comes.
        await self._health.settle(_seconds_to_wait(request))
        self._health.require_ready()
        return _json({"ready": True})

    async def _oip_metadata(self, request: web.Request) -> web.Response:
        model = self._expected_model(request)
        return _json(
            oip.model_metadata(model.signature, model=model.name, revision=model.revision, runtime=model.platform)
        )

    async def _oip_ready(self, request: web.Request) -> web.Response:
        model = self._expected_model(request)
        self._health.require_ready()
        return _json({"name": model.name, "ready": True})

    async def _tfserving_status(self, request: web.Request) -> web.Response:
        model = self._expected_model(request)
        try:
            self._health.require_serving()
        except NotReadyError as error:
            return _json(tfserving.status(model.version_number, unavailable=str(error)))
        return _json(tfserving.status(model.version_number, unavailable=None))

    async def _tfserving_metadata(self, request: web.Request) -> web.Response:
        model = self._expected_model(request)
        return _json(tfserving.metadata(model.signature, model=model.name, version=model.version_number))

    # Around every handler

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:  # a path or a method that is not ours
            text = f"{request.method} {request.path} is not known here; GET / says what is"
            response = _json({"error": text}, status=HTTPStatus(error.status))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except ServerError as error:
            if (status := status_of(error)) is HTTPStatus.INTERNAL_SERVER_ERROR:
                logger.exception("inference failed")
            response = _json({"error": str(error)}, status=status)
        except Exception:
            logger.exception("a request failed unexpectedly")
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            response = _json({"error": "internal error; the server's log says more"}, status=status)
        if self._health.state is State.DRAINING:
            # Clients that keep connections open learn to open the next one elsewhere.
            response.force_close()
        return response


def _seconds_to_wait(request: web.Request) -> float:
    text = request.query.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= MAX_WAIT_SECONDS:  # NaN is not
        raise InvalidRequestError(f"wait={text!r} in the address: want seconds, from 0 to {MAX_WAIT_SECONDS}")
    return seconds


def _announced_size(request: web.Request, max_body_bytes: int) -> int:
    """The body's size as its header says it, else the largest allowed."""
    size = max_body_bytes if request.content_length is None else request.content_length
    if size > max_body_bytes:
        raise _too_large(max_body_bytes)
    return size


def _too_large(max_body_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"the body exceeds {max_body_bytes} bytes: send fewer rows, or raise the server's option --max-body-bytes"
    )


def _json(content: Any, *, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content),
        status=status,
        headers=headers_of(status),
        content_type="application/json",
    )
