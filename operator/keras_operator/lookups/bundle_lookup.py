"""Looks up bundles that the store has already, so that their revisions need no prepare Job."""

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
from keras_operator.kube.client import KubeClient
from keras_operator.kube.errors import ApiError, UnavailableError
from keras_operator.kube.kinds import Key
from keras_operator.render.pods import uses_embedded_store
from keras_operator.settings import Settings
from keras_operator.state.observed import Observed
from keras_operator.tasks.base import Task
from keras_operator.tasks.state import may_be_stored
from keras_store.bundles.open import bundle_store
from keras_store.bundles.store import BundleStore
from keras_store.errors import StepError

# A lookup saves a Job of ten seconds. A slower answer saves little, and the Job reports the error.
ANSWER_SECONDS = 2.0
# A store that has just failed is not queried: hundreds of models must not wait for it one after the other.
BACKOFF_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Answer:
    uid: str
    revision: str
    summary: ModelSummary | None


class BundleLookup:
    """Remembers the store's answers, until the model's own status has them. An async context manager.

    A lookup that fails counts as a bundle that does not exist: the Job that follows finds the error and reports it.
    """

    def __init__(
        self,
        client: KubeClient,
        settings: Settings,
        task: Task,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        open_store: Callable[[str, Mapping[str, str]], BundleStore] = bundle_store,
    ) -> None:
        self._client = client
        self._task = task
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._open_store = open_store
        self._answers: dict[Key, _Answer] = {}
        self._backoff_until: dict[str, float] = {}
        self._exit = AsyncExitStack()
        self._embedded: BundleStore | None = None

    async def __aenter__(self) -> Self:
        if uses_embedded_store(self._settings):
            store = self._open_store(self._settings.store_url, self._environ)
            self._embedded = await self._exit.enter_async_context(store)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def get(self, model: KerasModel, observed: Observed) -> ModelSummary | None:
        """The model in the manifest of the desired revision; None when the store was not queried or has no bundle.

        Each revision of a model is looked up once, and never when the resource's own status has the answer.
        """
        key = Key(model.metadata.namespace, model.metadata.name)
        if not may_be_stored(self._task, model, observed):
            self.forget(key)
            return None
        answer = self._answers.get(key)
        if answer is None or (answer.uid, answer.revision) != (model.metadata.uid, observed.revision):
            answer = _Answer(model.metadata.uid, observed.revision, await self._look_up(key, observed.revision))
            self._answers[key] = answer
        return answer.summary

    def forget(self, key: Key) -> None:
        """Forget the answer for a model."""
        self._answers.pop(key, None)

    async def _look_up(self, key: Key, revision: str) -> ModelSummary | None:
        # Where each namespace has its own credentials, an error in one namespace is no evidence about the others.
        scope = "" if self._embedded else key.namespace
        if self._clock() < self._backoff_until.get(scope, 0.0):
            return None
        path = bundle_path(key.namespace, key.name, revision)
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._store(key.namespace) as store:
                # The Job retries; here the first answer counts.
                manifest = None if store is None else await store.manifest(path, attempts=1)
        except (StepError, ApiError, UnavailableError, TimeoutError) as error:
            # An invalid bundle is no failure of the store.
            if not (isinstance(error, StepError) and error.reason == Reason.BUNDLE_INVALID):
                self._backoff_until[scope] = self._clock() + BACKOFF_SECONDS
            what = f"no answer within {ANSWER_SECONDS:g} s" if isinstance(error, TimeoutError) else error
            log.warning("cannot look up %s in the store, a Job runs instead: %s", path, what)
            return None
        if manifest is None:
            return None
        try:
            summary = reported(manifest.model, revision)
        except ValueError as error:
            log.warning("%s is in the store, but its manifest is invalid: %s", path, error)
            return None
        log.info("%s is in the store already, no Job is needed", path)
        return summary

    @asynccontextmanager
    async def _store(self, namespace: str) -> AsyncIterator[BundleStore | None]:
        """The store as this namespace's pods reach it; None when the namespace has no credentials for it."""
        if self._embedded is not None:
            yield self._embedded
            return
        name = self._settings.store_secret
        credentials = await self._client.secret(namespace, name) if name else None
        if credentials is None:
            yield None
            return
        async with self._open_store(self._settings.store_url, credentials) as store:
            yield store
