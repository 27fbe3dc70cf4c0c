"""kopf as a watcher and nothing else: its handlers, storages and finalizers are not used, so it never writes.

kopf begins each watch with a listing, of which it says neither when it is through nor what has vanished since the one
before, and for each object of which it starts a task with a queue. So we stand between it and the API server: its
listings find nothing, and tell us from where it watches.

kopf cannot be begun anew in the same process: it takes every task for its own when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp
import kopf

from keras_operator.cache.cache import WatchScope
from keras_operator.kube.client import message_of
from keras_operator.kube.kinds import KERAS_MODEL, Kind, Object
from keras_operator.naming.labels import MANAGER, SELECT_OURS
from keras_operator.settings import Settings

# A right that is missing is tried for again after so long.
DENIED_SECONDS = 5.0
# No object has this name: a listing with it is empty, and tells the version of the moment.
NOTHING = "metadata.name=."


class WatchError(Exception):
    """What the cluster has can no longer be watched by this process."""


class Listener(Protocol):
    """Who is told."""

    def begins(self, place: WatchScope) -> None:
        """A watch begins: what there is must be listed from now on."""

    def changes(self, kind: Kind, obj: Object, *, gone: bool) -> None:
        """An object is new, another or gone."""

    def denies(self, place: WatchScope, verb: str, message: str) -> None:
        """The API server says that there is no right to list or watch."""

    def allows(self, place: WatchScope, verb: str) -> None:
        """It lets us."""


class Watch:
    """Watches places until the process is told to stop."""

    def __init__(self, places: Iterable[WatchScope], settings: Settings, listener: Listener) -> None:
        self._places = {kind.path(namespace): (kind, namespace) for kind, namespace in places}
        self._kinds = list(dict.fromkeys(kind for kind, _ in self._places.values()))
        self._settings = settings
        self._listener = listener

    async def run(self) -> None:
        """Watch until the process is told to stop.

        Raises:
            WatchError: a watch has failed for good.
        """
        ours = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=_kopf_settings(self._kinds),
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

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for kind in self._kinds:
            handler = self._handler(kind)
            kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)(handler)
        return registry

    def _handler(self, kind: Kind) -> Callable[..., Any]:
        async def handle(event: Any, **_: Any) -> None:
            self._listener.changes(kind, event["object"], gone=event["type"] == "DELETED")

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
        """Let kopf's listings find nothing, and ask for one of ours; wait for rights that are missing.

        For kopf a missing right would be the end, and nobody would be left to say which one it is.
        """
        place = self._places.get(request.url.path)
        if place is None:
            return await proceed(request)
        verb = "list" if "limit" in request.url.query else "watch"
        if verb == "list":
            request.url = request.url.extend_query(fieldSelector=NOTHING)
        while (response := await proceed(request)).status == HTTPStatus.FORBIDDEN:
            self._listener.denies(place, verb, message_of(await response.read()))
            await asyncio.sleep(DENIED_SECONDS)
        if response.status == HTTPStatus.OK:
            self._listener.allows(place, verb)
            if verb == "list":
                self._listener.begins(place)
        return response


class _NoDiffs(kopf.DiffBaseStorage):  # type: ignore[misc]
    """Spares kopf the copying and comparing of every object: there are no handlers that want to know differences."""

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
    # The server ends a watch after ten minutes; one that is dead without saying so is noticed after bookmarks fail
    # to come (they come every minute).
    settings.watching.server_timeout = 600
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    # When a kind is removed, kopf is to hear of that before it tries to watch it again, which would be its end.
    settings.watching.reconnect_backoff = 0.5
    settings.watching.chunk_size = 500
    for kind in kinds:
        if kind != KERAS_MODEL:
            settings.watching.label_selectors[kind.group, kind.plural] = SELECT_OURS
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, 5, 5, 5)
    # Events of one object come in bursts; a task for each object is kept no longer.
    settings.queueing.idle_timeout = 0.05
    settings.queueing.exit_timeout = 0.5
    return settings
