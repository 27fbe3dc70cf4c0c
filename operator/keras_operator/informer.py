"""Keeps the world up to date: kopf watches, and whenever it begins a watch we list what it watches.

kopf delivers events and nothing else: its handlers, storages and finalizers are not used, so it never writes. It begins
each watch with a listing, of which it says neither when it is through nor what has vanished since the one before, and
for each object of which it starts a task with a queue. So its listings are made to find nothing, and serve to know from
where it watches; a listing of our own then brings in page by page what there is. The same is done at an interval, for
what a watch may have missed.

kopf cannot be begun anew in the same process: it takes every task for its own when it ends. So a watch that has failed
for good, or that kopf did not take up, ends the process, and the next one begins with a fresh listing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import aiohttp
import kopf

from keras_api.reasons import Reason
from keras_operator.api import Api, ApiError, UnavailableError, message_of
from keras_operator.kinds import CHILDREN, KERAS_MODEL, POD, SERVICE_MONITOR, Key, Kind
from keras_operator.problem import Problem, missing_right
from keras_operator.render.labels import MANAGER, SELECT_OURS
from keras_operator.settings import Settings
from keras_operator.world import Place, World

WATCHED = (KERAS_MODEL, *CHILDREN, POD)
# Kinds that can come and go while the operator runs, and how soon that is noticed.
DEFINED = (KERAS_MODEL, SERVICE_MONITOR)
DISCOVERY_SECONDS = 10.0
RETRY_SECONDS = 2.0
# At the start everything is listed as its watch begins; what kopf does not watch (in a namespace that is not there
# yet) is listed after this.
BEGIN_SECONDS = 5.0
# A kind that came is listed at every discovery until kopf watches it, which a slow API server may delay.
MISSED_SECONDS = 180.0
# A right that is missing is tried for again after so long.
DENIED_SECONDS = 5.0
# No object has this name: a listing with it is empty, and tells the version of the moment.
NOTHING = "metadata.name=."

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
        self._defined: frozenset[Kind] = frozenset()
        self._places: dict[str, Place] = {
            kind.path(namespace): (kind, namespace) for kind in WATCHED for namespace in settings.namespaces
        }
        self._watched: set[Kind] = set()
        """Kinds of which kopf has begun a watch."""
        self._listed: set[Place] = set()
        self._due: set[Place] = set()
        self._is_due = asyncio.Event()
        self.synced = asyncio.Event()
        """Set once everything was listed for the first time: before, what is not known may be there."""

    async def find_definition(self) -> None:
        """Wait for the API server and the CRD, however long they take to be there."""
        while True:
            try:
                await self._discover()
            except (ApiError, UnavailableError) as error:
                log.warning("the API server cannot be asked for its kinds, and is asked again: %s", error)
            else:
                if KERAS_MODEL in self._defined:
                    return
                log.warning("the cluster does not serve KerasModels yet: install the CRD")
            await asyncio.sleep(RETRY_SECONDS)

    async def keep_in_sync(self) -> None:
        """List what kopf begins to watch, and everything at the interval, for ever."""
        while True:
            patience = self._settings.resync_interval if self.synced.is_set() else BEGIN_SECONDS
            try:
                async with asyncio.timeout(patience):
                    await self._is_due.wait()
            except TimeoutError:
                self._due |= self._present() if self.synced.is_set() else self._present() - self._listed
            self._is_due.clear()
            due, self._due = self._due, set()
            failed = [place for place in self._places.values() if place in due and not await self._has_listed(place)]
            if not self.synced.is_set() and self._present() <= self._listed | self._hidden():
                log.info("there are %d models", len(self._world.models()))
                self.synced.set()
            if failed:
                self._due |= set(failed)
                await asyncio.sleep(RETRY_SECONDS)
                self._is_due.set()

    async def keep_discovering(self) -> None:
        """Notice when the cluster gets or loses a kind, for ever.

        Raises:
            WatchError: kopf, which notices it by itself, has missed it.
        """
        missed: dict[Kind, float] = {}
        while True:
            await asyncio.sleep(DISCOVERY_SECONDS)
            try:
                await self._discover()
            except (ApiError, UnavailableError) as error:
                log.info("discovery failed and is tried again: %s", error)
            now = asyncio.get_running_loop().time()
            missed = {kind: missed.get(kind, now) for kind in self._defined - self._watched}
            for kind, since in missed.items():
                if now - since >= MISSED_SECONDS:
                    raise WatchError(f"{kind}s came, and are not watched")
            if missed and self.synced.is_set():
                self._due |= {place for place in self._present() if place[0] in missed}
                self._is_due.set()

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

    def _present(self) -> set[Place]:
        """All that there is to be listed."""
        return {place for place in self._places.values() if place[0] not in DEFINED or place[0] in self._defined}

    def _hidden(self) -> set[Place]:
        """What cannot be listed before somebody grants the right to."""
        return {place for place, _ in self._world.denied}

    async def _has_listed(self, place: Place) -> bool:
        """List what one watch is about; False when that must be tried again."""
        try:
            await self._list(*place)
        except (ApiError, UnavailableError) as error:
            if isinstance(error, ApiError) and error.status == HTTPStatus.FORBIDDEN:
                self._deny(place, "list", error.message)
            else:
                log.warning("a listing failed and is tried again: %s", error)
            return False
        self._allow(place, "list")
        self._listed.add(place)
        return True

    async def _list(self, kind: Kind, namespace: str | None) -> None:
        """Take in what differs in one listing, and forget what is gone.

        Raises:
            ApiError, UnavailableError: when the listing fails; what was listed before it is taken in.
        """
        selector = "" if kind == KERAS_MODEL else SELECT_OURS
        with self._world.listing(kind, namespace) as listing:
            try:
                async for page, version in self._api.pages(kind, namespace, selector):
                    self._wake_all(listing.take(page, version))
            except ApiError as error:
                if error.status != HTTPStatus.NOT_FOUND or kind not in DEFINED:
                    raise
                return  # it was removed a moment ago, which discovery will notice
            self._wake_all(listing.end())

    def _deny(self, place: Place, verb: str, message: str) -> None:
        """Take in that a right is missing; every model concerned is told."""
        problem = missing_right(message) or Problem(
            Reason.FORBIDDEN, f"the operator may not {verb} {place[0]}s: {message}"
        )
        if self._world.denied.get((place, verb)) != problem:
            log.error("%s", problem.message)
            self._world.denied[place, verb] = problem
            self._wake_all(self._world.models())
            self._is_due.set()  # nothing else is waited for, perhaps

    def _allow(self, place: Place, verb: str) -> None:
        """Take in that a right is there."""
        if self._world.denied.pop((place, verb), None) is not None:
            self._wake_all(self._world.models())

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
                self._watched.discard(kind)
                self._world.forget_all(kind)
                for place, verb in list(self._world.denied):
                    if place[0] == kind:
                        del self._world.denied[place, verb]
        self._world.has_service_monitors = SERVICE_MONITOR in served
        self._wake_all(self._world.models())

    def _wake_all(self, keys: Iterable[Key]) -> None:
        for key in keys:
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
        """Lend kopf a session in which we stand between it and the API server."""
        info = kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)
        if info is None:
            return None
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            middlewares=[self._stand_between],
        )
        return kopf.AiohttpSession(
            server=info.server,
            default_namespace=info.default_namespace,
            expiration=info.expiration,
            aiohttp_session=session,
        )

    async def _stand_between(
        self, request: aiohttp.ClientRequest, proceed: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """See to it that kopf's listings find nothing, and ask for one of ours; wait for rights that are missing.

        For kopf a missing right would be the end, and nobody would be left to say which one it is.
        """
        place = self._places.get(request.url.path)
        if place is None:
            return await proceed(request)
        verb = "list" if "limit" in request.url.query else "watch"
        if verb == "list":
            request.url = request.url.extend_query(fieldSelector=NOTHING)
        while (response := await proceed(request)).status == HTTPStatus.FORBIDDEN:
            self._deny(place, verb, message_of(await response.read()))
            await asyncio.sleep(DENIED_SECONDS)
        if response.status == HTTPStatus.OK:
            self._allow(place, verb)
            if verb == "list":
                self._watched.add(place[0])
                self._due.add(place)
                self._is_due.set()
        return response


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
