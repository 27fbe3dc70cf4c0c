"""Fetches Events and log lines for pods and Jobs that are stuck, rejected or not ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from keras_api.resource import KerasModel
from keras_operator.diagnosis.admission import (
    Template,
    admission_failed_at,
    latest_rejection,
    present_template,
    rejected_replica_set,
)
from keras_operator.diagnosis.pods import (
    download_timeout_at,
    is_informative,
    readiness_timeout_at,
    startup_timeout_at,
)
from keras_operator.kube.client import KubeClient
from keras_operator.kube.errors import ApiError, UnavailableError
from keras_operator.kube.evidence import LOG, Evidence
from keras_operator.kube.kinds import REPLICA_SET, Key
from keras_operator.kube.times import seconds_until
from keras_operator.naming.labels import selector, server_selector
from keras_operator.state.observed import Observed
from keras_operator.tasks.base import Task
from keras_operator.tasks.state import pod_creation_deadline

# Events come before the pod's status: the kubelet writes the status at its next sync, ten seconds later.
EVENTS_EVERY_SECONDS = 5
# After this time, evidence is read as rarely as the kubelet and the controllers repeat their Events.
YOUNG_SECONDS = 60
EVENTS_LATER_EVERY_SECONDS = 30
# A log may keep growing, and each new last line would be a status write.
LOG_EVERY_SECONDS = 300

log = logging.getLogger(__name__)


class Log(NamedTuple):
    """The last line of a container's log."""

    pod: str
    container: str


class Query(NamedTuple):
    """Evidence to look up about an object, beginning at a certain time."""

    uid: str
    at: datetime
    about: Log | Template | None = None
    """A log, the rejection of a template's pods, or with None the latest warning Event."""


class DiagnosticsCollector:
    """Remembers the evidence about each object, for as long as the object makes no progress."""

    def __init__(self, client: KubeClient, tasks: tuple[Task, ...]) -> None:
        self._client = client
        self._tasks = tasks
        self._answers: dict[Key, dict[Query, tuple[float, Evidence | None]]] = {}

    async def get(self, model: KerasModel, observed: Observed) -> Mapping[str, Evidence]:
        """The evidence about each object of a model that makes no progress, by uid."""
        key = Key(model.metadata.namespace, model.metadata.name)
        known = self._answers.pop(key, {})
        answers = {}
        now = asyncio.get_running_loop().time()
        for query in queries(model, observed, self._tasks):
            if query.at > observed.now:
                continue
            answer = known.get(query)
            if answer is None or now >= answer[0] + _interval(query, observed.now):
                answer = (now, await self._look_up(key, query))
            answers[query] = answer
        if answers:
            self._answers[key] = answers
        return {query.uid: evidence for query, (_, evidence) in answers.items() if evidence is not None}

    def due(self, model: KerasModel, observed: Observed) -> float | None:
        """Seconds until there is evidence to look up, for the first time or again."""
        answers = self._answers.get(Key(model.metadata.namespace, model.metadata.name), {})
        now = asyncio.get_running_loop().time()
        return min(
            (
                answers[each][0] + _interval(each, observed.now) - now
                if each in answers
                else seconds_until(each.at, observed.now)
                for each in queries(model, observed, self._tasks)
            ),
            default=None,
        )

    def forget(self, key: Key) -> None:
        """Forget the evidence about a model."""
        self._answers.pop(key, None)

    async def _look_up(self, key: Key, query: Query) -> Evidence | None:
        try:
            if isinstance(query.about, Log):
                line = await self._client.last_log_line(key.namespace, *query.about)
                return Evidence(LOG, line) if line else None
            if query.about is not None:
                return await self._rejection(key, query.about)
            events = await self._client.warnings(key.namespace, query.uid)
        except (ApiError, UnavailableError) as error:
            # A status with less detail is better than no status.
            log.warning("cannot look up evidence: %s", error)
            return None
        return next((each for each in reversed(events) if is_informative(each)), None)

    async def _rejection(self, key: Key, template: Template) -> Evidence | None:
        pages = self._client.pages(REPLICA_SET, key.namespace, selector(server_selector(key.name)))
        found = rejected_replica_set(template, [each async for page, _ in pages for each in page])
        if found is None:
            return None
        return latest_rejection(found, await self._client.warnings(key.namespace, found["metadata"]["uid"]))


def queries(model: KerasModel, observed: Observed, tasks: tuple[Task, ...]) -> Iterator[Query]:
    """The evidence to look up, now or later, as long as the observed state does not change."""
    for pod in observed.pods:
        startup, readiness = startup_timeout_at(pod), readiness_timeout_at(pod)
        if startup is not None:
            yield Query(pod.uid, startup)
        elif readiness is not None:
            at, container = readiness
            overdue = download_timeout_at(at)
            if observed.now < overdue:
                yield Query(pod.uid, at, Log(pod.name, container))
            # A log line about the download is expected before this time, and an error after it.
            yield Query(pod.uid, overdue, Log(pod.name, container))
    for task in tasks if observed.revision else ():
        job = observed.job(task.job_name(model, observed))
        deadline = pod_creation_deadline(job, observed) if job is not None else None
        if job is not None and deadline is not None:
            yield Query(job.uid, deadline)
    deployment = observed.deployment(model)
    rejected = admission_failed_at(deployment) if deployment is not None else None
    if deployment is not None and rejected is not None:
        yield Query(deployment.uid, rejected, present_template(deployment))


def _interval(query: Query, now: datetime) -> float:
    """Seconds between two lookups of the same query."""
    if isinstance(query.about, Log):
        return LOG_EVERY_SECONDS
    young = (now - query.at).total_seconds() < YOUNG_SECONDS
    return EVENTS_EVERY_SECONDS if young else EVENTS_LATER_EVERY_SECONDS
