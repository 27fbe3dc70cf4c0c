"""The server's life: listen, get the bundle, load, warm up, serve, drain."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time

import uvloop
from aiohttp import web

from keras_api.step_report import StepFailure, StepReport
from keras_api.termination import publish
from keras_runtimes.base import InvalidInputError, ModelRunError
from keras_server import logs
from keras_server.admission import Admission
from keras_server.app import Api
from keras_server.bundle import Bundle, BundleError, open_bundle
from keras_server.download import download
from keras_server.health import Health, State
from keras_server.listener import BACKLOG
from keras_server.logs import logger
from keras_server.metrics import Metrics
from keras_server.model import Model
from keras_server.settings import Settings
from keras_server.warmup import GoldenMismatchError
from keras_store.errors import StepError

# Seconds for the last answers to reach their clients, once they are computed.
_WRITE_TIMEOUT = 2.0
KILLED_BY_SIGTERM = 128 + signal.SIGTERM


class Server:
    """Serves one bundle until it is told to stop.

    Args:
        settings: what, and how.
        listener: the socket that clients connect to.
    """

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._health = Health()
        self._admission = Admission(max_requests=settings.max_in_flight, max_bytes=settings.max_in_flight_bytes)
        self._metrics = Metrics(
            in_flight=lambda: self._admission.requests,
            ready=lambda: self._health.state is State.READY,
        )
        self._api = Api(
            name=settings.name,
            health=self._health,
            admission=self._admission,
            metrics=self._metrics,
            max_body_bytes=settings.max_body_bytes,
            body_timeout=settings.body_timeout,
        )
        self._stop = asyncio.Event()
        self._drain_delay = settings.drain_delay

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT.

        Returns:
            The exit status: 0 after a drain in which every request was answered, else 1.

        Raises:
            StepError: when the bundle cannot be had from the store.
            BundleError: when the bundle cannot be run.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)
        runner = web.AppRunner(
            self._api.application(),
            handle_signals=False,
            access_log=None,
            # A request whose client went away is dropped from the queue.
            handler_cancellation=True,
            shutdown_timeout=_WRITE_TIMEOUT,
        )
        await runner.setup()
        # Before the bundle is there, so that probes are told why they must wait.
        await web.SockSite(runner, self._listener, backlog=BACKLOG).start()
        logs.info("listening", address=runner.addresses[0][0], port=runner.addresses[0][1])
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
        self._become_loading("the model is being loaded and warmed up")
        try:
            await model.load()
        except (GoldenMismatchError, InvalidInputError, ModelRunError) as error:
            # It can be asked why, which a process that exits cannot; restarts would not change the answer.
            self._health.become(State.FAILED, f"warm-up failed: {error}")
            logger.error("never ready: %s", self._health.reason)
            return
        if self._health.state is State.LOADING:
            self._health.become(State.READY, "")
            logs.info(
                "ready",
                model=model.name,
                revision=model.revision,
                runtime=model.platform,
                seconds=round(time.perf_counter() - begin, 3),
                threads=self._settings.threads,
                workers=self._settings.workers,
            )

    async def _obtain(self) -> Bundle:
        settings = self._settings
        if settings.store:
            self._become_loading("the bundle is being downloaded")
            await download(settings.store, settings.path, settings.bundle)
        return await asyncio.to_thread(open_bundle, settings.bundle)

    def _model(self, bundle: Bundle) -> Model:
        model = Model(
            bundle,
            name=self._settings.name,
            max_rows=self._settings.max_rows,
            workers=self._settings.workers,
            threads=self._settings.threads,
            observe=self._metrics.observe_inference,
        )
        self._metrics.describe(model=model.name, revision=model.revision, runtime=model.platform)
        self._api.describe(model)
        return model

    def _become_loading(self, reason: str) -> None:
        # It may have been told to stop already.
        if self._health.state is State.LOADING:
            self._health.become(State.LOADING, reason)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            logger.warning("told to stop a second time: exiting with %d requests unanswered", self._admission.requests)
            os._exit(KILLED_BY_SIGTERM)
        if number is signal.SIGINT or self._health.state is not State.READY:
            # At a terminal, and before the first answer, nobody's endpoints have to propagate.
            self._drain_delay = 0
        self._health.become(State.DRAINING, "the server is about to stop")
        self._stop.set()

    async def _drain(self, runner: web.AppRunner, delay: float) -> int:
        logs.info("draining", seconds=delay, in_flight=self._admission.requests)
        await asyncio.sleep(delay)
        for site in list(runner.sites):
            await site.stop()
        try:
            async with asyncio.timeout(self._settings.drain_timeout):
                await self._admission.idle()
        except TimeoutError:
            logger.error("%d requests are not answered after the drain", self._admission.requests)
        unanswered = self._admission.requests
        await runner.cleanup()
        logs.info("stopped", unanswered=unanswered)
        return 1 if unanswered else 0


def serve(settings: Settings, listener: socket.socket) -> int:
    """Serve a bundle until told to stop.

    Returns:
        The exit status: that of `Server.run`, and 1 after an error that the log and the last words tell.
    """
    try:
        return uvloop.run(Server(settings, listener).run())
    except StepError as error:
        logger.error("%s: %s", error.reason, error.message)
        failure = StepFailure(reason=error.reason, message=error.message)
        publish(StepReport(step="get", revision=settings.path.rpartition("/")[2], failure=failure))
    except BundleError as error:
        logger.error("cannot serve: %s", error)
    return 1
