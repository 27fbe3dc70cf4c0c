"""Keeps the cache up to date: lists a scope page by page when its watch begins, and every scope at an interval.

A watch does not report the objects that existed before it began, nor those deleted between two watches; a listing
reports both. When a watch fails permanently or does not begin, the process exits; after the restart every scope is
listed again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus

from keras_api.reasons import Reason
from keras_operator.cache.cache import Cache
from keras_operator.kube.client import KubeClient
from keras_operator.kube.errors import ApiError, ApplyError, UnavailableError, missing_permission
from keras_operator.kube.identity import MANAGED_SELECTOR
from keras_operator.kube.kinds import KERAS_MODEL, POD, ChildKind, Key, Kind, Object, WatchScope
from keras_operator.kube.watch import WatchError
from keras_operator.settings import Settings

# Interval of discovery: optional kinds may be installed and removed while the operator runs.
DISCOVERY_SECONDS = 10.0
RETRY_SECONDS = 2.0
# At the start each scope is listed when its watch begins. A scope without a watch (in a namespace that does not exist
# yet) is listed after this time.
BEGIN_SECONDS = 5.0
# A kind that was installed is listed at every discovery until its watch begins, which a slow API server may delay.
MISSED_SECONDS = 180.0

log = logging.getLogger(__name__)


class Informer:
    """Fills the cache, and enqueues the models that a change is about.

    Args:
        client: lists and discovers.
        cache: to be filled.
        child_kinds: the kinds of children, in the order in which they are listed.
        settings: namespaces and resync interval.
        enqueue: called with a model to reconcile.
    """

    def __init__(
        self,
        client: KubeClient,
        cache: Cache,
        child_kinds: Iterable[ChildKind],
        settings: Settings,
        enqueue: Callable[[Key], None],
    ) -> None:
        children = tuple(child_kinds)
        self._client = client
        self._cache = cache
        self._settings = settings
        self._enqueue = enqueue
        self._optional = (KERAS_MODEL, *(each.kind for each in children if each.optional))
        self._served: frozenset[Kind] = frozenset()
        watched = (KERAS_MODEL, *(each.kind for each in children), POD)
        self.scopes: list[WatchScope] = [(kind, namespace) for kind in watched for namespace in settings.namespaces]
        """All scopes to watch and list, in the order of listing."""
        self._watched: set[Kind] = set()
        """Kinds whose watch has begun."""
        self._listed: set[WatchScope] = set()
        self._due: set[WatchScope] = set()
        self._is_due = asyncio.Event()
        self.synced = asyncio.Event()
        """Set once every scope was listed: before that, an object that is not in the cache may exist."""

    async def wait_for_definition(self) -> None:
        """Wait for the API server and the CRD, without a limit."""
        while True:
            try:
                await self._discover()
            except (ApiError, UnavailableError) as error:
                log.warning("the discovery of the API server's kinds failed, retrying: %s", error)
            else:
                if KERAS_MODEL in self._served:
                    return
                log.warning("the cluster does not serve KerasModels yet: install the CRD")
            await asyncio.sleep(RETRY_SECONDS)

    async def run(self) -> None:
        """List each scope whose watch begins, and every scope at the interval. Never returns."""
        while True:
            patience = self._settings.resync_interval if self.synced.is_set() else BEGIN_SECONDS
            try:
                async with asyncio.timeout(patience):
                    await self._is_due.wait()
            except TimeoutError:
                self._due |= self._present() if self.synced.is_set() else self._present() - self._listed
            self._is_due.clear()
            due, self._due = self._due, set()
            failed = [scope for scope in self.scopes if scope in due and not await self._try_to_list(scope)]
            if not self.synced.is_set() and self._present() <= self._listed | self._forbidden():
                log.info("the cache is in sync: %d models", len(self._cache.models()))
                self.synced.set()
            if failed:
                await asyncio.sleep(RETRY_SECONDS)
                self._request_listing(failed)

    async def run_discovery(self) -> None:
        """Notice when an optional kind is installed or removed. Never returns.

        Raises:
            WatchError: a kind was installed, and its watch has not begun in time.
        """
        missed: dict[Kind, float] = {}
        while True:
            await asyncio.sleep(DISCOVERY_SECONDS)
            try:
                await self._discover()
            except (ApiError, UnavailableError) as error:
                log.info("discovery failed, retrying: %s", error)
            now = asyncio.get_running_loop().time()
            missed = {kind: missed.get(kind, now) for kind in self._served - self._watched}
            for kind, since in missed.items():
                if now - since >= MISSED_SECONDS:
                    raise WatchError(f"the kind {kind} was installed, and its watch has not begun")
            if missed and self.synced.is_set():
                self._request_listing(scope for scope in self._present() if scope[0] in missed)

    # Implementation of `keras_operator.kube.watch.Listener`

    def on_watch_started(self, scope: WatchScope) -> None:
        """Request a listing of the scope."""
        self._watched.add(scope[0])
        self._request_listing([scope])

    def on_change(self, kind: Kind, obj: Object, *, deleted: bool) -> None:
        """Record a change of an object."""
        key = self._cache.remove(kind, obj) if deleted else self._cache.update(kind, obj)
        if key is not None:
            self._enqueue(key)

    def on_forbidden(self, scope: WatchScope, verb: str, message: str) -> None:
        """Record a missing permission; every model reports it."""
        error = missing_permission(message) or ApplyError(
            Reason.FORBIDDEN, f"the operator has no permission to {verb} {scope[0]}s: {message}"
        )
        if self._cache.set_forbidden(scope, verb, error):
            log.error("%s", error.message)
            self._enqueue_all(self._cache.models())
            self._is_due.set()  # the first listing may have waited for this scope only

    def on_allowed(self, scope: WatchScope, verb: str) -> None:
        """Record that a permission is granted."""
        if self._cache.set_forbidden(scope, verb, None):
            self._enqueue_all(self._cache.models())

    def _request_listing(self, scopes: Iterable[WatchScope]) -> None:
        self._due.update(scopes)
        self._is_due.set()

    def _present(self) -> set[WatchScope]:
        """All scopes whose kind the cluster serves."""
        return {scope for scope in self.scopes if scope[0] not in self._optional or scope[0] in self._served}

    def _forbidden(self) -> set[WatchScope]:
        """Scopes to skip until the permission is granted: all but that of the models."""
        return {scope for scope, _ in self._cache.forbidden_scopes() if scope[0] != KERAS_MODEL}

    async def _try_to_list(self, scope: WatchScope) -> bool:
        """List one scope; False when it must be listed again."""
        try:
            await self._list(*scope)
        except (ApiError, UnavailableError) as error:
            if isinstance(error, ApiError) and error.status == HTTPStatus.FORBIDDEN:
                self.on_forbidden(scope, "list", error.message)
            else:
                log.warning("a listing failed, retrying: %s", error)
            return False
        self.on_allowed(scope, "list")
        self._listed.add(scope)
        return True

    async def _list(self, kind: Kind, namespace: str | None) -> None:
        """Record the changes that one listing shows, and remove objects that no longer exist.

        Raises:
            ApiError, UnavailableError: when a page fails; the pages before it are recorded.
        """
        selector = "" if kind == KERAS_MODEL else MANAGED_SELECTOR
        with self._cache.listing(kind, namespace) as listing:
            try:
                async for page, version in self._client.pages(kind, namespace, selector):
                    self._enqueue_all(listing.add_page(page, version))
            except ApiError as error:
                if error.status != HTTPStatus.NOT_FOUND or kind not in self._optional:
                    raise
                return  # the kind was removed a moment ago; the next discovery notices that
            self._enqueue_all(listing.end())

    async def _discover(self) -> None:
        served = frozenset([kind for kind in self._optional if await self._client.serves(kind)])
        changed, self._served = set(served ^ self._served), served
        # An apply may have found a kind absent that was removed and installed again between two discoveries.
        changed |= {kind for kind in self._optional if self._cache.serves(kind) != (kind in served)}
        for kind in changed:
            log.info("the cluster %s the kind %s", "serves" if kind in served else "does not serve", kind)
            self._cache.set_served(kind, kind in served)
            if kind not in served:
                self._watched.discard(kind)
                self._cache.remove_all(kind)
                for scope, verb in list(self._cache.forbidden_scopes()):
                    if scope[0] == kind:
                        self._cache.set_forbidden(scope, verb, None)
        if changed:
            self._enqueue_all(self._cache.models())

    def _enqueue_all(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._enqueue(key)
