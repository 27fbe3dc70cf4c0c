"""Looks into the store for bundles that are there already, so that their revisions need no prepare Job."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Self

from keras_api.manifest import ModelSummary
from keras_api.prepare_request import bundle_path
from keras_api.reasons import Reason
from keras_api.resource import KerasModel
from keras_api.step_report import reported
from keras_operator.decide.preparation import may_be_stored
from keras_operator.kube.client import ApiError, KubeClient, UnavailableError
from keras_operator.kube.kinds import Key
from keras_operator.render.pods import speaks_to_embedded_store
from keras_operator.settings import Settings
from keras_operator.state.observed import Observed
from keras_store.bundles.open import bundle_store
from keras_store.bundles.store import BundleStore
from keras_store.errors import StepError

# A look saves a Job of ten seconds; one that takes longer than this saves little, and the Job tells what is wrong.
ANSWER_SECONDS = 2.0
# A store that has just failed is left alone: hundreds of models must not wait for it one after the other.
REST_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Answer:
    uid: str
    revision: str
    summary: ModelSummary | None


class BundleLookup:
    """Remembers what the store has answered, until the model's own status knows it. An async context manager.

    A question that fails, for whatever reason, is answered like one for a bundle that is not there: by a Job, which
    finds out and says what is wrong.
    """

    def __init__(
        self,
        api: KubeClient,
        settings: Settings,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._answers: dict[Key, _Answer] = {}
        self._rest_until: dict[str, float] = {}
        self._exit = AsyncExitStack()
        self._embedded: BundleStore | None = None

    async def __aenter__(self) -> Self:
        if speaks_to_embedded_store(self._settings):
            store = bundle_store(self._settings.store_url, self._environ)
            self._embedded = await self._exit.enter_async_context(store)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def look(self, model: KerasModel, observed: Observed) -> ModelSummary | None:
        """What the store says of the wanted revision's bundle; None when it need not, or does not, have it.

        Each model's revision is asked for once, and never when its own resource knows better.
        """
        key = Key(model.metadata.namespace, model.metadata.name)
        if not may_be_stored(model, observed):
            self.forget(key)
            return None
        answer = self._answers.get(key)
        if answer is None or (answer.uid, answer.revision) != (model.metadata.uid, observed.revision):
            answer = _Answer(model.metadata.uid, observed.revision, await self._ask(key, observed.revision))
            self._answers[key] = answer
        return answer.summary

    def forget(self, key: Key) -> None:
        """Forget what was answered for a model."""
        self._answers.pop(key, None)

    async def _ask(self, key: Key, revision: str) -> ModelSummary | None:
        # Where each namespace brings its own credentials, one's wrong ones say nothing of the others'.
        place = "" if self._embedded else key.namespace
        if self._clock() < self._rest_until.get(place, 0.0):
            return None
        path = bundle_path(key.namespace, key.name, revision)
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._store(key.namespace) as store:
                # The Job is patient; here the first word counts.
                manifest = None if store is None else await store.manifest(path, attempts=1)
        except (StepError, ApiError, UnavailableError, TimeoutError) as error:
            # A bundle that makes no sense is its owner's doing, not the store's.
            if not (isinstance(error, StepError) and error.reason == Reason.BUNDLE_INVALID):
                self._rest_until[place] = self._clock() + REST_SECONDS
            what = f"no answer within {ANSWER_SECONDS:g} s" if isinstance(error, TimeoutError) else error
            log.warning("cannot look for %s in the store, a Job will: %s", path, what)
            return None
        if manifest is None:
            return None
        try:
            summary = reported(manifest.model, revision)
        except ValueError as error:
            log.warning("%s is in the store, but its manifest is no good: %s", path, error)
            return None
        log.info("%s is in the store already: it needs no Job", path)
        return summary

    @asynccontextmanager
    async def _store(self, namespace: str) -> AsyncIterator[BundleStore | None]:
        """The store as this namespace's pods reach it; None when nobody gave them credentials for it."""
        if self._embedded is not None:
            yield self._embedded
            return
        name = self._settings.store_secret
        credentials = await self._api.secret(namespace, name) if name else None
        if credentials is None:
            yield None
            return
        async with bundle_store(self._settings.store_url, credentials) as store:
            yield store
