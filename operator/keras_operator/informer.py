"""Keeps the world up to date: kopf watches, a listing of our own finds what a watch can miss.

kopf delivers events and nothing else: its handlers, storages and finalizers are not used, so it never writes. A watch
that had to list anew says nothing of what was deleted meanwhile, and kopf does not say when its first list is through:
both are answered by `sync`, which lists everything into the world at the start, at an interval, and soon after kopf has
listed something.

kopf cannot be begun anew in the same process: it takes every task for its own when it ends. So a watch that has failed
for good, or that kopf did not take up, ends the process, and the next one begins with a fresh listing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp
import kopf

from keras_operator.api import Api, ApiError, UnavailableError
from keras_operator.kinds import CHILDREN, KERAS_MODEL, POD, SERVICE_MONITOR, Key, Kind
from keras_operator.render.labels import MANAGER, SELECT_OURS
from keras_operator.settings import Settings
from keras_operator.world import World

WATCHED = (KERAS_MODEL, *CHILDREN, POD)
# Listings of several kinds after one gap are answered by one listing of ours.
GAP_SECONDS = 2.0
# Kinds that can come and go while the operator runs, and how soon that is noticed.
DEFINED = (KERAS_MODEL, SERVICE_MONITOR)
DISCOVERY_SECONDS = 10.0
RETRY_SECONDS = 2.0

log = logging.getLogger(__name__)


class WatchError(Exception):
    """What the cluster has can no longer be watched by this process."""


class Informer:
    """Fills the world and wakes the models that a change is about."""

    def __init__(self, api: Api, world: World, settings: Settings, wake: Callable[[Key], None]) -> None:
        self._api = api
        self._world = world
        self._settings = settings
        self._wake = wake
        self._gap = asyncio.Event()
        self._defined: frozenset[Kind] = frozenset()
        self._listed_by_kopf: set[str] = set()
        self.synced = False
        """Whether everything has been listed once."""

    async def sync(self) -> None:
        """List everything, take in what differs and forget what is gone.

        Raises:
            ApiError, UnavailableError: when a listing fails; what was listed before it is taken in.
        """
        await self._discover()
        for kind in WATCHED:
            if kind in DEFINED and kind not in self._defined:
                continue
            selector = "" if kind == KERAS_MODEL else SELECT_OURS
            for namespace in self._settings.namespaces:
                objects, version = await self._api.list_all(kind, namespace, selector)
                for key in self._world.replace(kind, [namespace], objects, version):
                    self._wake(key)

    async def first_sync(self) -> None:
        """List everything, however long the API server and the CRD take to be there. Workers must not begin before."""
        while not self.synced:
            try:
                await self.sync()
            except (ApiError, UnavailableError) as error:
                log.warning("the first listing failed and is tried again: %s", error)
            else:
                self.synced = KERAS_MODEL in self._defined
                if not self.synced:
                    log.warning("the cluster does not serve KerasModels yet: install the CRD")
            if not self.synced:
                await asyncio.sleep(RETRY_SECONDS)
        for key in self._world.models():
            self._wake(key)

    async def keep_in_sync(self) -> None:
        """List everything at the interval and after gaps in the watch, for ever."""
        while True:
            try:
                async with asyncio.timeout(self._settings.resync_interval):
                    await self._gap.wait()
                await asyncio.sleep(GAP_SECONDS)
            except TimeoutError:
                pass
            self._gap.clear()
            try:
                await self.sync()
            except (ApiError, UnavailableError) as error:
                log.warning("a listing failed and is tried again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._gap.set()

    async def keep_discovering(self) -> None:
        """Notice when the cluster gets or loses a kind, for ever.

        Raises:
            WatchError: kopf, which notices it by itself, has missed it.
        """
        while True:
            before = self._defined
            await asyncio.sleep(DISCOVERY_SECONDS)
            try:
                await self._discover()
            except (ApiError, UnavailableError) as error:
                log.info("discovery failed and is tried again: %s", error)
            for kind in before & self._defined:
                if kind.plural not in self._listed_by_kopf:
                    raise WatchError(f"{kind}s came, and are not watched")

    async def watch(self) -> None:
        """Watch until the process is told to stop.

        Raises:
            WatchError: a watch has failed for good.
        """
        ours = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=_kopf_settings(),
            clusterwide=not self._settings.watch_namespaces,
            namespaces=self._settings.watch_namespaces,
            standalone=True,
            identity=MANAGER,  # else kopf asks the system for the name of its user, which need not have one
        )
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise WatchError(f"{type(error).__name__}: {error}") from error
        await kopf.run_tasks(tasks, ignored=ours)

    async def _discover(self) -> None:
        served = frozenset([kind for kind in DEFINED if await self._api.serves(kind)])
        changed, self._defined = served ^ self._defined, served
        if self._world.has_service_monitors != (SERVICE_MONITOR in served):
            changed |= {SERVICE_MONITOR}  # gone and come again, and somebody has met the gap
        if not changed:
            return
        for kind in changed:
            log.info("the cluster %s %ss", "has" if kind in served else "has no", kind)
            if kind not in served:
                self._listed_by_kopf.discard(kind.plural)
                self._world.replace(kind, [None], [], _ANY_VERSION)
        self._world.has_service_monitors = SERVICE_MONITOR in served
        for key in self._world.models():
            self._wake(key)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for kind in WATCHED:
            handler = self._handler(kind)
            kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)(handler)
        return registry

    def _handler(self, kind: Kind) -> Callable[..., Any]:
        async def handle(event: Any, **_: Any) -> None:
            change, obj = event["type"], event["object"]
            key = self._world.forget(kind, obj) if change == "DELETED" else self._world.see(kind, obj)
            if key is not None:
                self._wake(key)

        return handle

    async def _login(self, **arguments: Any) -> Any:
        """Lend kopf a session, in which it can be seen to list anew."""
        info = kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)
        if info is None:
            return None
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._see_listing)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            trace_configs=[trace],
        )
        return kopf.AiohttpSession(
            server=info.server,
            default_namespace=info.default_namespace,
            expiration=info.expiration,
            aiohttp_session=session,
        )

    async def _see_listing(self, _session: Any, _context: Any, end: aiohttp.TraceRequestEndParams) -> None:
        # Noticed here, since an empty listing brings no event. The first one ends a gap too: that after `first_sync`.
        if "limit" in end.url.query and end.response.status == HTTPStatus.OK:
            self._listed_by_kopf.add(end.url.name)
            self._gap.set()


_ANY_VERSION = 2**63


class _NoDiffs(kopf.DiffBaseStorage):  # type: ignore[misc]
    """Spares kopf the copying and comparing of every object: there are no handlers that want to know differences."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = _NoDiffs()
    # The server ends a watch after ten minutes; one that is dead without saying so is noticed after bookmarks fail
    # to come (they come every minute).
    settings.watching.server_timeout = 600
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    # When a kind is removed, kopf is to hear of that before it tries to watch it again, which would be its end.
    settings.watching.reconnect_backoff = 0.5
    settings.watching.chunk_size = 500
    for kind in (*CHILDREN, POD):
        settings.watching.label_selectors[kind.group, kind.plural] = SELECT_OURS
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, 5, 5, 5)
    # Events of one object come in bursts; a task for each object is kept no longer.
    settings.queueing.idle_timeout = 0.05
    settings.queueing.exit_timeout = 0.5
    return settings
