"""The shipped operator over a cluster in memory, with a record of each reconcile.

Only the ends are stand-ins: the API server, the sources, the store, and the clock. All parts between them are real:
the client, the informer, the cache, the work queue and its worker, the lookups, the applier and the status writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Self, cast

from fake_api_server import METRICS, FakeApiServer
from fake_cluster import KINDS, Cluster
from operator_makers import CHILD_KINDS, CONFIG, KEY, SETTINGS
from virtual_time import VirtualTimeLoop

from keras_api.manifest import Manifest, ModelSummary
from keras_api.reasons import Reason
from keras_api.resource import KerasModel, KerasModelStatus
from keras_operator.__main__ import work
from keras_operator.apply import Applier
from keras_operator.cache.cache import Cache
from keras_operator.cache.informer import Informer
from keras_operator.decide.plan import Plan
from keras_operator.decide.status import summarize
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.evidence import Evidence
from keras_operator.kube.kinds import Key, Kind, Object, Ref
from keras_operator.kube.leadership import NoLeaderElection
from keras_operator.kube.watch import WatchError
from keras_operator.kube.workqueue import WorkQueue
from keras_operator.lookups.bundle_lookup import BundleLookup
from keras_operator.lookups.diagnostics import DiagnosticsCollector
from keras_operator.lookups.source_poller import SourcePoller
from keras_operator.publish import StatusWriter
from keras_operator.reconcile import Reconciler
from keras_operator.state.conditions import find_condition
from keras_operator.state.observed import Observed, observe
from keras_operator.state.source_resolution import SourceResolution
from keras_operator.tasks import PREPARE, TASKS
from keras_store.bundles.store import BundleStore
from keras_store.errors import StepError
from keras_store.sources.fingerprint import Fingerprint


class Switch:
    """Whether a server answers. While it does not, requests to it hang."""

    def __init__(self) -> None:
        self._on = asyncio.Event()
        self._on.set()

    def turn(self, on: bool) -> None:
        (self._on.set if on else self._on.clear)()

    async def wait(self) -> None:
        await self._on.wait()


class FakeSources:
    """Answers with the fingerprints of the files in the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.answers = Switch()
        self.requests = 0

    async def ask(self, uri: str, *_: Any, timeout: float, **__: Any) -> Fingerprint:  # noqa: ASYNC109
        self.requests += 1
        try:
            async with asyncio.timeout(timeout):
                await self.answers.wait()
        except TimeoutError as error:
            raise StepError(Reason.SOURCE_UNREACHABLE, f"{uri}: no answer within {timeout:g} s") from error
        answer = self._cluster.files[uri]
        if isinstance(answer, Reason):
            raise StepError(answer, f"{uri}: no")
        return Fingerprint(answer, 100_000)


class FakeStore:
    """Answers with the manifests of the bundles in the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.answers = Switch()
        self.requests = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def manifest(self, path: str, *, attempts: int) -> Manifest | None:
        self.requests += 1
        await self.answers.wait()
        return self._cluster.manifest(path.rpartition("/")[2])


@dataclass
class Record:
    """One reconcile: what the operator observed, decided, wrote and reported."""

    before: dict[Ref, Object]
    """The cluster before the reconcile."""
    began: datetime
    model: KerasModel | None = None
    """The resource; None when it does not exist."""
    observed: Observed | None = None
    """The state that was observed last, after applying."""
    plan: Plan | None = None
    """None when the spec is invalid."""
    errors: Mapping[Ref, ApplyError] = field(default_factory=dict)
    status: KerasModelStatus | None = None
    """The status; while it is debounced, the one that would be written."""
    debounced: float | None = None
    """Seconds for which the status is not written yet."""
    requeue: float | None = None
    error: Exception | None = None
    writes: list[str] = field(default_factory=list)
    after: dict[Ref, Object] = field(default_factory=dict)
    """The cluster after the reconcile."""
    ended: datetime | None = None
    """None for a reconcile that was interrupted by the end of the operator."""

    def __str__(self) -> str:
        ready = find_condition(self.status, "Ready") if self.status else None
        state = self.plan.chain.state if self.plan is not None else None
        return (
            f"{self.began:%H:%M:%S.%f} generation {self.model and self.model.metadata.generation}: {self.writes}, "
            f"{ready.reason if ready else None}, {type(state).__name__}, requeue {self.requeue}, error {self.error!r}"
        )


class _Records:
    """Makes a record of each reconcile; stands between the worker and the reconciler."""

    def __init__(self, server: FakeApiServer, cache: Cache) -> None:
        self.server = server
        self.cache = cache
        self.current = Record({}, server.cluster.now())
        self.all: list[Record] = []
        """One for each reconcile of the worker."""
        self.reconciler: Reconciler

    async def __call__(self, key: Key) -> float | None:
        self.current = Record(dict(self.server.cluster.objects), self.server.cluster.now())
        self.all.append(self.current)
        await self.reconcile(key)
        return self.current.requeue

    async def reconcile(self, key: Key) -> None:
        cluster, writes, record = self.server.cluster, len(self.server.writes), self.current
        try:
            record.requeue = await self.reconciler(key)
        except Exception as error:
            record.error, record.ended = error, cluster.now()
            raise
        else:
            record.ended = cluster.now()
            if record.plan is not None and record.status is None:
                record.debounced = record.requeue
                assert record.model is not None
                assert record.observed is not None
                record.status = summarize(record.model, record.observed, record.plan, record.errors, CONFIG)
        finally:
            record.writes, record.after = self.server.writes[writes:], dict(cluster.objects)


class _Applier(Applier):
    records: _Records

    async def apply(self, model: KerasModel, plan: Plan, observed: Observed) -> Mapping[Ref, ApplyError]:
        record = self.records.current
        record.model, record.plan = model, plan
        record.errors = await super().apply(model, plan, observed)
        return record.errors


class _StatusWriter(StatusWriter):
    records: _Records

    async def write(self, model: KerasModel, status: KerasModelStatus, now: datetime) -> None:
        record = self.records.current
        record.model, record.status = model, status
        if record.plan is None:
            before = record.observed or Observed(now, SourceResolution())
            seen = observe(model, self.records.cache, before.resolution, now)
            record.observed = replace(seen, stored=before.stored)
        await super().write(model, status, now)


class _DiagnosticsCollector(DiagnosticsCollector):
    records: _Records

    async def get(self, model: KerasModel, observed: Observed) -> Mapping[str, Evidence]:
        found = await super().get(model, observed)
        self.records.current.observed = replace(observed, evidence=found)
        return found


class _BundleLookup(BundleLookup):
    records: _Records

    async def get(self, model: KerasModel, observed: Observed) -> ModelSummary | None:
        found = await super().get(model, observed)
        record = self.records.current
        assert record.observed is not None
        record.observed = replace(record.observed, stored=found)
        return found


class Operator:
    """An operator process: begins with an empty memory, and loses it when it ends."""

    def __init__(self, loop: VirtualTimeLoop, server: FakeApiServer, sources: FakeSources, store: FakeStore) -> None:
        self._loop = loop
        self._server = server
        self._sources = sources
        self._store = store
        server.killed = False
        self.cache = Cache(CHILD_KINDS)
        self._queue = WorkQueue[Key]()
        self._records = _Records(server, self.cache)
        self._client = server.client()
        self._informer = Informer(self._client, self.cache, CHILD_KINDS, SETTINGS, enqueue=self._queue.add)
        self._watched: set[Kind] = set()
        self._seen = 0
        for kind in KINDS:
            server.cluster.watches[kind].clear()
        self._process = loop.create_task(self._run())

    async def _run(self) -> None:
        """As `keras_operator.__main__.run`, without kopf, endpoints and settings from the environment."""
        client = self._client
        lookup = _BundleLookup(client, SETTINGS, PREPARE, {}, self._loop.time, self._open_store)
        async with lookup as bundles:
            sources = SourcePoller(
                client,
                METRICS,
                SETTINGS.max_source_size,
                enqueue=self._queue.add,
                ask=self._sources.ask,
                clock=self._loop.now,
            )
            diagnostics = _DiagnosticsCollector(client, TASKS)
            children = _Applier(client, self.cache, CONFIG, METRICS)
            statuses = _StatusWriter(client, self.cache, METRICS)
            for port in (bundles, diagnostics, children, statuses):
                port.records = self._records
            self._records.reconciler = Reconciler(
                CONFIG, self.cache, sources, bundles, diagnostics, children, statuses, self._loop.now
            )
            await self._informer.wait_for_definition()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._informer.run())
                    group.create_task(self._informer.run_discovery())
                    worker = work(
                        self._informer,
                        self._queue,
                        cast(Reconciler, self._records),
                        NoLeaderElection(METRICS),
                        METRICS,
                    )
                    group.create_task(worker)
                    self.watch(set())
            finally:
                sources.forget(KEY)

    def _open_store(self, *_: object) -> BundleStore:
        return cast(BundleStore, self._store)

    @property
    def is_busy(self) -> bool:
        """Whether a reconcile is under way."""
        records = self._records.all
        return bool(records) and records[-1].ended is None

    @property
    def last(self) -> Record:
        """The last reconcile."""
        return self._records.all[-1]

    @property
    def reconciles(self) -> int:
        """Number of reconciles."""
        return len(self._records.all)

    def new_records(self) -> list[Record]:
        """Records of the reconciles that have ended since the last call."""
        first = self._seen
        self._seen = self.reconciles - self.is_busy
        return self._records.all[first : self._seen]

    def watch(self, lagging: set[Kind]) -> bool:
        """Begin the watches of all kinds that are served. Returns whether one has begun."""
        began = False
        for kind in KINDS:
            if not self._server.cluster.serves(kind):
                self._watched.discard(kind)
            elif kind not in self._watched and kind not in lagging:
                self._watched.add(kind)
                self._informer.on_watch_started((kind, None))
                began = True
        return began

    def deliver(self, kind: Kind) -> bool:
        """Deliver what a watch has to report. Returns whether that is anything."""
        events = self._server.cluster.watches[kind]
        delivered = bool(events)
        while events:
            exists, obj = events.popleft()
            self._loop.call_soon(partial(self._informer.on_change, kind, obj, deleted=not exists))
        return delivered

    def reconcile_again(self) -> tuple[asyncio.Task[None], Record]:
        """Reconcile once more, without an event, and without an effect on the time of the next reconcile."""
        record = self._records.current = Record(dict(self._server.cluster.objects), self._loop.now())
        return self._loop.create_task(self._records.reconcile(KEY)), record

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Adds the last reconciles to an error."""
        try:
            yield
        except AssertionError as error:
            for record in self._records.all[-6:]:
                error.add_note(str(record))
            raise

    def has_ended(self) -> bool:
        """Whether the process has ended by itself, since a watch did not begin."""
        if not self._process.done():
            return False
        error = self._process.exception()
        assert isinstance(error, ExceptionGroup)
        assert error.subgroup(WatchError) is not None
        return True

    def kill(self) -> None:
        """End the process at once."""
        if not self._process.done():
            self._process.cancel()
            self._loop.run_until_idle()
        assert self._process.done()
