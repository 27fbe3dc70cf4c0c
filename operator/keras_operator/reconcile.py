"""The reconciler: observe, decide, apply, publish. It makes requests only through its ports, and keeps no state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from keras_api.manifest import ModelSummary
from keras_api.reasons import Reason
from keras_api.resource import KerasModel, KerasModelStatus, SpecError, parse_model
from keras_operator.cache.cache import Cache
from keras_operator.components.base import Config
from keras_operator.decide.debounce import debounce_seconds
from keras_operator.decide.plan import Plan, decide
from keras_operator.decide.requeue import requeue_after
from keras_operator.decide.status import spec_invalid, summarize
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.evidence import Evidence
from keras_operator.kube.kinds import Key, Object, Ref
from keras_operator.kube.times import utc_now
from keras_operator.state.observed import Observed, observe
from keras_operator.state.source_resolution import SourceResolution, remembered


class Lookup(Protocol):
    """Remembers answers about models."""

    def forget(self, key: Key) -> None:
        """Forget everything about a model that no longer exists."""


class Sources(Lookup, Protocol):
    """The versions of the models' sources; see `keras_operator.lookups.source_poller`."""

    def get(self, model: KerasModel) -> SourceResolution:
        """The last answer of the model's source."""

    def invalidate(self, key: Key) -> None:
        """Poll the source again: a step found a different file than the last answer describes."""


class Bundles(Lookup, Protocol):
    """Bundles in the store; see `keras_operator.lookups.bundle_lookup`."""

    async def get(self, model: KerasModel, observed: Observed) -> ModelSummary | None:
        """The model of the desired revision, if its bundle is known only from the store."""


class Diagnostics(Lookup, Protocol):
    """Events and log lines; see `keras_operator.lookups.diagnostics`."""

    async def get(self, model: KerasModel, observed: Observed) -> Mapping[str, Evidence]:
        """Evidence about objects that make no progress, by uid."""

    def due(self, model: KerasModel, observed: Observed) -> float | None:
        """Seconds until the next lookup; None when there is nothing to look up."""


class Children(Protocol):
    """Applies plans; see `keras_operator.apply`."""

    async def apply(self, model: KerasModel, plan: Plan, observed: Observed) -> Mapping[Ref, ApplyError]:
        """Apply a plan. Returns the errors by child."""


class Statuses(Protocol):
    """Writes statuses; see `keras_operator.publish`."""

    async def write(self, model: KerasModel, status: KerasModelStatus, now: datetime) -> None:
        """Write the status if it differs from the present one."""


@dataclass
class Reconciler:
    """Reconciles one model at a time; its dependencies are passed to it."""

    config: Config
    cache: Cache
    sources: Sources
    bundles: Bundles
    diagnostics: Diagnostics
    children: Children
    statuses: Statuses
    clock: Callable[[], datetime] = utc_now

    async def __call__(self, key: Key) -> float | None:
        """Reconcile a model. Returns the seconds after which to reconcile it again without an event.

        Raises:
            UnavailableError, ApiError: to be retried with backoff.
        """
        body = self.cache.model(key)
        if body is None:
            for lookup in (self.sources, self.bundles, self.diagnostics):
                lookup.forget(key)
            return None  # the garbage collector deletes the children
        seconds = await self._reconcile(key, body)
        present = self.cache.model(key)
        # The answer to a status write may bring a newer spec into the cache. Its watch event then changes nothing.
        outdated = present is None or present["metadata"]["generation"] != body["metadata"]["generation"]
        return 0 if outdated else seconds

    async def _reconcile(self, key: Key, body: Object) -> float | None:
        try:
            model = parse_model(body)
            resolution = self.sources.get(model)
            observed = await self._observe(model, resolution)
            plan = decide(model, observed, self.config)
        except SpecError as error:
            await self._publish_invalid(body, error)
            return None  # only a new generation can change that
        failure = plan.chain.state.failure if plan.chain.state is not None else None
        if failure is not None and failure.reason == Reason.SOURCE_CHANGED:
            self.sources.invalidate(key)
        errors = await self.children.apply(model, plan, observed)
        observed = await self._observe(model, resolution)  # after applying, for the same version of the source
        status = summarize(model, observed, plan, errors, self.config)
        if (seconds := debounce_seconds(model, observed, status)) is not None:
            return seconds
        await self.statuses.write(model, status, observed.now)
        return requeue_after(
            plan, observed, status, has_errors=bool(errors), evidence_due=self.diagnostics.due(model, observed)
        )

    async def _observe(self, model: KerasModel, resolution: SourceResolution) -> Observed:
        observed = observe(model, self.cache, resolution, self.clock())
        return replace(
            observed,
            evidence=await self.diagnostics.get(model, observed),
            stored=await self.bundles.get(model, observed),
        )

    async def _publish_invalid(self, body: Object, error: SpecError) -> None:
        """Report an invalid spec."""
        try:
            model = parse_model(body)
            resolution = remembered(model)
        except SpecError:
            model = parse_model({**body, "spec": {"source": {"uri": ""}}})  # metadata and status are readable
            resolution = SourceResolution()
        observed = observe(model, self.cache, resolution, self.clock())
        await self.statuses.write(model, spec_invalid(model, error, observed, self.config), observed.now)
