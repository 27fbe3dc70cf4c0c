"""The reconciler's own part: when a model is reconciled again, and what is forgotten with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from operator_makers import CHILD_KINDS, CONFIG, FOUND, KEY, NOW, body

from keras_api.resource import KerasModel, KerasModelStatus
from keras_operator.cache.cache import Cache
from keras_operator.decide.plan import Plan
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.evidence import Evidence
from keras_operator.kube.kinds import KERAS_MODEL, Key, Object, Ref
from keras_operator.reconcile import Reconciler
from keras_operator.state.observed import Observed
from keras_operator.state.source_resolution import SourceResolution


@dataclass
class Ports:
    """All ports in one: every lookup has the same answer, and the API server accepts everything."""

    cache: Cache
    changed: Object | None = None
    """The resource in the answer to a status write, where another client has changed the spec before."""
    forgotten: list[Key] = field(default_factory=list)

    def forget(self, key: Key) -> None:
        self.forgotten.append(key)

    def due(self, model: KerasModel, observed: Observed) -> float | None:
        return None

    async def apply(self, model: KerasModel, plan: Plan, observed: Observed) -> Mapping[Ref, ApplyError]:
        return {}

    async def write(self, model: KerasModel, status: KerasModelStatus, now: datetime) -> None:
        if self.changed is not None:
            self.cache.update(KERAS_MODEL, self.changed)


class Sources(Ports):
    def get(self, model: KerasModel) -> SourceResolution:
        return FOUND

    def invalidate(self, key: Key) -> None: ...


class Bundles(Ports):
    async def get(self, model: KerasModel, observed: Observed) -> None:
        return None


class Diagnostics(Ports):
    async def get(self, model: KerasModel, observed: Observed) -> Mapping[str, Evidence]:
        return {}


def reconciler(cache: Cache, ports: Ports | None = None) -> Reconciler:
    either = ports or Ports(cache)
    return Reconciler(CONFIG, cache, Sources(cache), Bundles(cache), Diagnostics(cache), either, either, lambda: NOW)


def cached(**spec: Any) -> Cache:
    cache = Cache(CHILD_KINDS)
    cache.update(KERAS_MODEL, body({"conditions": []}, **spec))
    return cache


def newer(**spec: Any) -> Object:
    obj = body(**spec)
    return {**obj, "metadata": {**obj["metadata"], "generation": 2, "resourceVersion": "9"}}


@pytest.mark.parametrize("spec", [{"suspend": True}, {"source": {"digest": "x"}}], ids=["valid", "invalid"])
async def test_a_spec_that_changes_while_its_status_is_written_is_reconciled_at_once(spec: Object) -> None:
    """The watch event about it is no news for the cache then."""
    cache = cached(**spec)
    assert await reconciler(cache)(KEY) is None
    assert await reconciler(cache, Ports(cache, newer(serving={"replicas": 2})))(KEY) == 0


async def test_a_model_whose_deletion_begins_while_its_status_is_written_is_reconciled_at_once() -> None:
    cache = cached(suspend=True)
    deleted = newer()
    deleted["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    assert await reconciler(cache, Ports(cache, deleted))(KEY) == 0


async def test_every_lookup_forgets_a_model_that_does_not_exist_any_more() -> None:
    subject = reconciler(Cache(CHILD_KINDS))
    assert await subject(KEY) is None
    assert [subject.sources.forgotten, subject.bundles.forgotten, subject.diagnostics.forgotten] == [[KEY]] * 3
