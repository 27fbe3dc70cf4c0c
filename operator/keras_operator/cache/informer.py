"""Keeps the world up to date: whenever a watch begins, we list page by page what it is about, and so at an interval.

A watch says nothing of what was there before, nor of what vanished in a gap between two; a listing does both. A watch
that has failed for good, or that was not taken up, ends the process, and the next one begins with a fresh listing.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus

from keras_api.reasons import Reason
from keras_operator.cache.cache import Cache, WatchScope
from keras_operator.kube.client import ApiError, KubeClient, UnavailableError
from keras_operator.kube.errors import ApplyError, missing_right
from keras_operator.kube.kinds import CHILDREN, KERAS_MODEL, POD, SERVICE_MONITOR, Key, Kind, Object
from keras_operator.kube.watch import WatchError
from keras_operator.naming.labels import SELECT_OURS
from keras_operator.settings import Settings

WATCHED = (KERAS_MODEL, *CHILDREN, POD)
# Kinds that can come and go while the operator runs, and how soon that is noticed.
DEFINED = (KERAS_MODEL, SERVICE_MONITOR)
DISCOVERY_SECONDS = 10.0
RETRY_SECONDS = 2.0
# At the start everything is listed as its watch begins; what is not watched (in a namespace that is not there yet) is
# listed after this.
BEGIN_SECONDS = 5.0
# A kind that came is listed at every discovery until it is watched, which a slow API server may delay.
MISSED_SECONDS = 180.0

log = logging.getLogger(__name__)


class Informer:
    """Fills the world and wakes the models that a change is about."""

    def __init__(self, api: KubeClient, world: Cache, settings: Settings, wake: Callable[[Key], None]) -> None:
        self._api = api
        self._world = world
        self._settings = settings
        self._wake = wake
        self._defined: frozenset[Kind] = frozenset()
        self.places: list[WatchScope] = [(kind, namespace) for kind in WATCHED for namespace in settings.namespaces]
        """What is to be watched and listed, in the order of listing."""
        self._watched: set[Kind] = set()
        """Kinds of which a watch has begun."""
        self._listed: set[WatchScope] = set()
        self._due: set[WatchScope] = set()
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
        """List what begins to be watched, and everything at the interval, for ever."""
        while True:
            patience = self._settings.resync_interval if self.synced.is_set() else BEGIN_SECONDS
            try:
                async with asyncio.timeout(patience):
                    await self._is_due.wait()
            except TimeoutError:
                self._due |= self._present() if self.synced.is_set() else self._present() - self._listed
            self._is_due.clear()
            due, self._due = self._due, set()
            failed = [place for place in self.places if place in due and not await self._has_listed(place)]
            if not self.synced.is_set() and self._present() <= self._listed | self._hidden():
                log.info("there are %d models", len(self._world.models()))
                # What is known now stays for long. The collector would look through all of it again and again, and with
                # thousands of models hold everything up for a tenth of a second each time.
                gc.collect()
                gc.freeze()
                self.synced.set()
            if failed:
                await asyncio.sleep(RETRY_SECONDS)
                self._ask_for(failed)

    async def keep_discovering(self) -> None:
        """Notice when the cluster gets or loses a kind, for ever.

        Raises:
            WatchError: a kind came, and no watch of it has begun for long.
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
                self._ask_for(place for place in self._present() if place[0] in missed)

    def begins(self, place: WatchScope) -> None:
        """Ask for a listing of what begins to be watched."""
        self._watched.add(place[0])
        self._ask_for([place])

    def changes(self, kind: Kind, obj: Object, *, gone: bool) -> None:
        """Take in what a watch tells of an object."""
        key = self._world.forget(kind, obj) if gone else self._world.see(kind, obj)
        if key is not None:
            self._wake(key)

    def denies(self, place: WatchScope, verb: str, message: str) -> None:
        """Take in that a right is missing; every model concerned is told."""
        problem = missing_right(message) or ApplyError(
            Reason.FORBIDDEN, f"the operator may not {verb} {place[0]}s: {message}"
        )
        if self._world.denied.get((place, verb)) != problem:
            log.error("%s", problem.message)
            self._world.denied[place, verb] = problem
            self._wake_all(self._world.models())
            self._is_due.set()  # nothing else is waited for, perhaps

    def allows(self, place: WatchScope, verb: str) -> None:
        """Take in that a right is there."""
        if self._world.denied.pop((place, verb), None) is not None:
            self._wake_all(self._world.models())

    def _ask_for(self, places: Iterable[WatchScope]) -> None:
        """Have these listed soon."""
        self._due.update(places)
        self._is_due.set()

    def _present(self) -> set[WatchScope]:
        """All that there is to be listed."""
        return {place for place in self.places if place[0] not in DEFINED or place[0] in self._defined}

    def _hidden(self) -> set[WatchScope]:
        """What must be done without before somebody grants the right to list it: all but the models themselves."""
        return {place for place, _ in self._world.denied if place[0] != KERAS_MODEL}

    async def _has_listed(self, place: WatchScope) -> bool:
        """List what one watch is about; False when that must be tried again."""
        try:
            await self._list(*place)
        except (ApiError, UnavailableError) as error:
            if isinstance(error, ApiError) and error.status == HTTPStatus.FORBIDDEN:
                self.denies(place, "list", error.message)
            else:
                log.warning("a listing failed and is tried again: %s", error)
            return False
        self.allows(place, "list")
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
