"""The server's life: listen, get the bundle, load, warm up, serve, drain."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time

import uvloop
from aiohttp import web

from keras_api.logs import fields
from keras_api.step_report import StepFailure, StepReport
from keras_api.termination import publish
from keras_runtimes.base import InvalidInputError, ModelRunError
from keras_runtimes.bundle import Bundle, BundleError, open_bundle
from keras_runtimes.warmup import GoldenMismatchError
from keras_server.admission import Admission
from keras_server.dataplane import DataPlane
from keras_server.download import download
from keras_server.health import Health, State
from keras_server.http_front.app import HttpApp
from keras_server.http_front.bodies import Bodies
from keras_server.http_front.cors import Cors
from keras_server.listener import BACKLOG
from keras_server.metrics import Metrics
from keras_server.model import Model
from keras_server.protocols import version_names
from keras_server.settings import Settings
from keras_server.statistics import Execution
from keras_store.errors import StepError

# Seconds for the last answers to reach their clients, after they are computed.
_WRITE_TIMEOUT = 2.0
KILLED_BY_SIGTERM = 128 + signal.SIGTERM

log = logging.getLogger(__name__)


class Server:
    """Serves one bundle until it receives a signal to stop.

    Args:
        settings: the settings.
        listener: the socket that clients connect to.
    """

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._health = Health()
        self._admission = Admission(
            max_requests=settings.max_in_flight,
            max_bytes=settings.max_in_flight_bytes,
            max_request_bytes=settings.max_body_bytes,
        )
        self._metrics = Metrics(
            in_flight=lambda: self._admission.requests,
            ready=lambda: self._health.state is State.READY,
        )
        self._plane = DataPlane(
            health=self._health,
            admission=self._admission,
            metrics=self._metrics,
            max_rows=settings.max_rows,
            version_names=version_names,
            accept_non_finite=settings.non_finite == "pass",
        )
        self._http = HttpApp(
            name=settings.name,
            plane=self._plane,
            health=self._health,
            metrics=self._metrics,
            bodies=Bodies(max_bytes=settings.max_body_bytes, timeout=settings.body_timeout),
            cors=Cors(settings.cors_origins),
        )
        self._stop = asyncio.Event()
        self._drain_delay = settings.drain_delay

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT.

        Returns:
            The exit status: 0 after a drain in which every request was answered, else 1.

        Raises:
            StepError: the bundle cannot be downloaded.
            BundleError: the bundle cannot be run.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)
        runner = self._http.runner(shutdown_timeout=_WRITE_TIMEOUT)
        await runner.setup()
        # Before the bundle is downloaded, so that probes are answered with the state of the server.
        await web.SockSite(runner, self._listener, backlog=BACKLOG).start()
        address, port = runner.addresses[0][:2]
        log.info("listening", extra=fields(address=address, port=port))
        loading = asyncio.create_task(self._load())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
        await stopping
        return await self._drain(runner, self._drain_delay)

    async def _load(self) -> None:
        begin = time.perf_counter()
        model = self._model(await self._obtain())
        self._health.become(State.LOADING, "the model is being loaded and warmed up")
        try:
            await model.load()
        except (GoldenMismatchError, InvalidInputError, ModelRunError) as error:
            # A server that stays can be asked for the reason, and a restart would fail in the same way.
            if self._health.become(State.FAILED, f"warm-up failed: {error}"):
                log.error("never ready: %s", self._health.reason)  # noqa: TRY400 - one line, without a traceback
            return
        if self._health.become(State.READY, ""):
            log.info(
                "ready",
                extra=fields(
                    model=model.info.name,
                    revision=model.info.revision,
                    runtime=model.info.runtime,
                    seconds=round(time.perf_counter() - begin, 3),
                    threads=self._settings.threads,
                    workers=self._settings.workers,
                ),
            )

    async def _obtain(self) -> Bundle:
        settings = self._settings
        if settings.store:
            self._health.become(State.LOADING, "the bundle is being downloaded")
            await download(settings.store, settings.path, settings.bundle)
        return await asyncio.to_thread(open_bundle, settings.bundle)

    def _model(self, bundle: Bundle) -> Model:
        model = Model(
            bundle,
            name=self._settings.name,
            workers=self._settings.workers,
            threads=self._settings.threads,
            observe=self._observe,
        )
        info = model.info
        self._metrics.describe(model=info.name, revision=info.revision, runtime=info.runtime)
        self._plane.serve(model)
        return model

    def _observe(self, execution: Execution) -> None:
        self._metrics.observe_inference(execution)
        self._plane.statistics.observe_inference(execution)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("second signal to stop: exiting with %d requests unanswered", self._admission.requests)
            os._exit(KILLED_BY_SIGTERM)
        if number is signal.SIGINT or self._health.state is not State.READY:
            # At a terminal, and before the server was ready, no endpoints have to propagate.
            self._drain_delay = 0
        self._health.become(State.DRAINING, "the server is about to stop")
        self._stop.set()

    async def _drain(self, runner: web.AppRunner, delay: float) -> int:
        log.info("draining", extra=fields(seconds=delay, in_flight=self._admission.requests))
        await asyncio.sleep(delay)
        for site in list(runner.sites):
            await site.stop()
        try:
            async with asyncio.timeout(self._settings.drain_timeout):
                await self._admission.idle()
        except TimeoutError:
            log.error("%d requests are unanswered after the drain timeout", self._admission.requests)  # noqa: TRY400
        unanswered = self._admission.requests
        await runner.cleanup()
        log.info("stopped", extra=fields(unanswered=unanswered))
        return 1 if unanswered else 0


def serve(settings: Settings, listener: socket.socket) -> int:
    """Serve a bundle until the process receives a signal to stop.

    Returns:
        The exit status: that of `Server.run`, and 1 after an error, which the log and the step report contain.
    """
    try:
        return uvloop.run(Server(settings, listener).run())
    except StepError as error:
        log.error("%s: %s", error.reason, error.message)  # noqa: TRY400
        failure = StepFailure(reason=error.reason, message=error.message)
        publish(StepReport(step="get", revision=settings.path.rpartition("/")[2], failure=failure))
    except BundleError as error:
        log.error("cannot serve: %s", error)  # noqa: TRY400
    return 1
