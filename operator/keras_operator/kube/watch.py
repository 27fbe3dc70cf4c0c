"""Watches through kopf. Nothing else of kopf is used, such as progress, storages or finalizers: kopf never writes.

kopf begins each watch with a listing. It does not report the end of that listing, nor the objects deleted since the
previous one, and it starts a task with a queue for each listed object. A client middleware therefore returns kopf an
empty list at the current resourceVersion; the informer does its own paginated listing, and kopf watches from there.

kopf cannot start twice in one process: when it stops, it treats every task of the event loop as its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp
import kopf

from keras_operator.kube.client import KubeClient, message_of
from keras_operator.kube.identity import MANAGED_SELECTOR, MANAGER
from keras_operator.kube.kinds import KERAS_MODEL, Kind, Object, WatchScope

# Interval of retries while a permission is missing.
FORBIDDEN_SECONDS = 5.0
# No object has this name: a listing with it is empty, and returns the current resourceVersion.
MATCH_NOTHING = "metadata.name=."


class WatchError(Exception):
    """This process can no longer watch the cluster."""


class Listener(Protocol):
    """Receives what the watches report."""

    def on_watch_started(self, scope: WatchScope) -> None:
        """A watch begins: list what exists from now on."""

    def on_change(self, kind: Kind, obj: Object, *, deleted: bool) -> None:
        """An object was created, changed or deleted."""

    def on_forbidden(self, scope: WatchScope, verb: str, message: str) -> None:
        """The API server denies the permission to list or watch."""

    def on_allowed(self, scope: WatchScope, verb: str) -> None:
        """The API server grants the permission to list or watch."""


class Watch:
    """Watches scopes until the process ends.

    Args:
        client: the watches use its connections and credentials.
        scopes: what to watch.
        namespaces: the namespaces of these scopes; empty for the whole cluster.
        listener: receives the changes.
    """

    def __init__(
        self, client: KubeClient, scopes: Iterable[WatchScope], namespaces: tuple[str, ...], listener: Listener
    ) -> None:
        self._client = client
        self._scopes = {kind.path(namespace): (kind, namespace) for kind, namespace in scopes}
        self._kinds = list(dict.fromkeys(kind for kind, _ in self._scopes.values()))
        self._namespaces = namespaces
        self._listener = listener

    async def run(self) -> None:
        """Watch until the process receives a signal to stop.

        Raises:
            WatchError: a watch has failed permanently.
        """
        ours = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=_kopf_settings(self._kinds),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
            identity=MANAGER,  # without it kopf asks the system for the user's name, which may not exist
        )
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise WatchError(f"{type(error).__name__}: {error}") from error
        await kopf.run_tasks(tasks, ignored=ours)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for kind in self._kinds:
            handler = self._handler(kind)
            kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)(handler)
        return registry

    def _handler(self, kind: Kind) -> Callable[..., Any]:
        async def handle(event: Any, **_: Any) -> None:
            self._listener.on_change(kind, event["object"], deleted=event["type"] == "DELETED")

        return handle

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        """A session over the client's connections and credentials, with the middleware between kopf and the server."""
        return kopf.AiohttpSession(
            server=self._client.server,
            default_namespace="default",
            aiohttp_session=self._client.session(self._intercept),
        )

    async def _intercept(
        self, request: aiohttp.ClientRequest, proceed: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Answer kopf's listings with an empty list, and wait for permissions that are missing.

        kopf stops when a permission is missing; this operator reports the permission on every model and continues.
        """
        scope = self._scopes.get(request.url.path)
        if scope is None:
            return await proceed(request)
        verb = "list" if "limit" in request.url.query else "watch"
        if verb == "list":
            request.url = request.url.extend_query(fieldSelector=MATCH_NOTHING)
        while (response := await proceed(request)).status == HTTPStatus.FORBIDDEN:
            self._listener.on_forbidden(scope, verb, message_of(await response.read()))
            await asyncio.sleep(FORBIDDEN_SECONDS)
        if response.status == HTTPStatus.OK:
            self._listener.on_allowed(scope, verb)
            if verb == "list":
                self._listener.on_watch_started(scope)
        return response


class _NoDiffs(kopf.DiffBaseStorage):  # type: ignore[misc]
    """Keeps kopf from copying and comparing every object: no handler here needs the differences."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


def _kopf_settings(kinds: Iterable[Kind]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = _NoDiffs()
    # The server ends a watch after ten minutes. Bookmarks come every minute: a silent watch is dead.
    settings.watching.server_timeout = 600
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    # When a kind is removed, kopf must notice that before it watches the kind again; otherwise it stops.
    settings.watching.reconnect_backoff = 0.5
    settings.watching.chunk_size = 500
    for kind in kinds:
        if kind != KERAS_MODEL:
            settings.watching.label_selectors[kind.group, kind.plural] = MANAGED_SELECTOR
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, 5, 5, 5)
    # Events of one object come in bursts; after a burst kopf ends the object's task.
    settings.queueing.idle_timeout = 0.05
    settings.queueing.exit_timeout = 0.5
    return settings
