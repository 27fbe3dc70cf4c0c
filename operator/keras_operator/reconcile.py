"""The heart: one turn of one model, from what is so to what should be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from keras_api.reasons import ConditionType, Reason
from keras_api.resource import KerasModel, KerasModelStatus, SpecError, parse_model
from keras_operator.apply import Applier
from keras_operator.cache.cache import Cache
from keras_operator.decide.debounce import debounce_seconds
from keras_operator.decide.plan import Plan, decide
from keras_operator.decide.status import spec_invalid, summarize
from keras_operator.kube.kinds import Key, Object
from keras_operator.kube.times import seconds_until
from keras_operator.lookups.bundle_lookup import BundleLookup
from keras_operator.lookups.diagnostics import DiagnosticsCollector
from keras_operator.lookups.source_poller import SourcePoller
from keras_operator.publish import StatusWriter
from keras_operator.settings import Settings
from keras_operator.state.observed import Observed, observe
from keras_operator.state.source_resolution import SourceResolution, remembered

# What hinders a child (a name that is taken, a missing right) ends without an event that the operator would see.
PROBLEM_SECONDS = 30.0
# Some trouble shows only by time: a pod that hangs, a server that does not turn ready.
LOOK_SECONDS = 10.0


@dataclass
class Reconciler:
    """One turn of one model; everything that it needs is given to it."""

    world: Cache
    settings: Settings
    resolver: SourcePoller
    inquiry: DiagnosticsCollector
    shelf: BundleLookup
    actor: Applier
    reporter: StatusWriter

    async def __call__(self, key: Key) -> float | None:
        """Bring one model nearer to its spec. Returns the seconds after which to look again without an event.

        Raises:
            UnavailableError, ApiError: to be tried again with backoff.
        """
        body = self.world.model(key)
        if body is None:
            self.resolver.forget(key)
            self.shelf.forget(key)
            self.inquiry.forget(key)
            return None  # ownerReferences collect the children
        try:
            model = parse_model(body)
            resolution = self.resolver.look(model)
            observed = await self._observe(model, resolution)
            plan = decide(model, observed, self.settings)
        except SpecError as error:
            await self._refuse(body, error)
            return None  # only a new generation can change that
        failure = plan.preparation.failure
        if failure is not None and failure.reason == Reason.SOURCE_CHANGED:
            self.resolver.doubt(key)
        problems = await self.actor.act(model, plan, observed)
        observed = await self._observe(model, resolution)  # what acting has changed; the source's answer stays the same
        status = summarize(model, observed, plan, problems)
        if (hold := debounce_seconds(model, observed, status)) is not None:
            return hold
        await self.reporter.report(model, status, observed.now)
        return PROBLEM_SECONDS if problems else _look_again(plan, observed, status, self.inquiry.due(model, observed))

    async def _observe(self, model: KerasModel, resolution: SourceResolution) -> Observed:
        observed = observe(model, self.world, resolution, datetime.now(UTC))
        evidence, stored = await self.inquiry.evidence(model, observed), await self.shelf.look(model, observed)
        return replace(observed, evidence=evidence, stored=stored)

    async def _refuse(self, body: Object, error: SpecError) -> None:
        """Say what is wrong with a spec."""
        try:
            model = parse_model(body)
            resolution = remembered(model)
        except SpecError:
            model = parse_model({**body, "spec": {"source": {"uri": ""}}})  # its metadata and status can be read
            resolution = SourceResolution()
        observed = observe(model, self.world, resolution, datetime.now(UTC))
        await self.reporter.report(model, spec_invalid(model, error, observed), observed.now)


def _look_again(plan: Plan, observed: Observed, status: KerasModelStatus, inquiry_due: float | None) -> float | None:
    """Seconds until time alone may have changed something; None at rest, or while only the source can change it."""
    at = plan.preparation.look_at
    if at is not None:
        return seconds_until(at, observed.now)
    working = any(each.type == ConditionType.RECONCILING and each.status == "True" for each in status.conditions)
    if not working or plan.preparation.stage == "unresolved":
        return None
    return LOOK_SECONDS if inquiry_due is None else min(LOOK_SECONDS, max(inquiry_due, 0.1))
