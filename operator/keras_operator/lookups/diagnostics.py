"""Looks up what the watch does not show: events of what hangs silently or is refused, the log of what is not ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from keras_api.resource import KerasModel
from keras_operator.decide.preparation import pod_creation_deadline
from keras_operator.diagnosis.admission import (
    Template,
    admission_failed_at,
    latest_refusal,
    present_template,
    refused_replica_set,
)
from keras_operator.diagnosis.pods import (
    LOG,
    Evidence,
    download_timeout_at,
    readiness_timeout_at,
    startup_timeout_at,
    tells,
)
from keras_operator.kube.client import ApiError, KubeClient, UnavailableError
from keras_operator.kube.kinds import REPLICA_SET, Key
from keras_operator.kube.times import seconds_until
from keras_operator.naming.labels import selector, server_selector
from keras_operator.state.observed import Observed

# Events come before the pod's status says the same: the kubelet writes that at its next round, ten seconds later.
EVENTS_EVERY_SECONDS = 5
# What has hung for so long is asked about as rarely as the kubelet and the controllers repeat themselves.
PATIENCE_SECONDS = 60
EVENTS_LATER_EVERY_SECONDS = 30
# A log may grow for ever without anything new in it, and each of its lines would be written to the status.
LOG_EVERY_SECONDS = 300

log = logging.getLogger(__name__)


class Log(NamedTuple):
    """The last line of a container's log."""

    pod: str
    container: str


class Query(NamedTuple):
    """What to look up about an object, and from when on."""

    uid: str
    at: datetime
    about: Log | Template | None = None
    """A log, the refusal of a template's pods, or with None the latest warning event."""


class DiagnosticsCollector:
    """Remembers what was found about whom, for as long as it hangs."""

    def __init__(self, api: KubeClient) -> None:
        self._api = api
        self._asked: dict[Key, dict[Query, tuple[float, Evidence | None]]] = {}

    async def evidence(self, model: KerasModel, observed: Observed) -> Mapping[str, Evidence]:
        """What was found about each object of a model that hangs, by uid."""
        key = Key(model.metadata.namespace, model.metadata.name)
        known = self._asked.pop(key, {})
        asked = {}
        now = asyncio.get_running_loop().time()
        for question in questions(model, observed):
            if question.at > observed.now:
                continue
            answer = known.get(question)
            if answer is None or now >= answer[0] + _interval(question, observed.now):
                answer = (now, await self._ask(key, question))
            asked[question] = answer
        if asked:
            self._asked[key] = asked
        return {question.uid: evidence for question, (_, evidence) in asked.items() if evidence is not None}

    def due(self, model: KerasModel, observed: Observed) -> float | None:
        """Seconds until there is something to ask, for the first time or again."""
        asked = self._asked.get(Key(model.metadata.namespace, model.metadata.name), {})
        now = asyncio.get_running_loop().time()
        return min(
            (
                asked[each][0] + _interval(each, observed.now) - now
                if each in asked
                else seconds_until(each.at, observed.now)
                for each in questions(model, observed)
            ),
            default=None,
        )

    def forget(self, key: Key) -> None:
        """Forget what was found about a model that is gone."""
        self._asked.pop(key, None)

    async def _ask(self, key: Key, question: Query) -> Evidence | None:
        try:
            if isinstance(question.about, Log):
                line = await self._api.last_log_line(key.namespace, *question.about)
                return Evidence(LOG, line) if line else None
            if question.about is not None:
                return await self._refusal(key, question.about)
            events = await self._api.warnings(key.namespace, question.uid)
        except (ApiError, UnavailableError) as error:
            # The status then says less, which is better than nothing.
            log.warning("cannot look up why something hangs: %s", error)
            return None
        return next((each for each in reversed(events) if tells(each)), None)

    async def _refusal(self, key: Key, template: Template) -> Evidence | None:
        pages = self._api.pages(REPLICA_SET, key.namespace, selector(server_selector(key.name)))
        found = refused_replica_set(template, [each async for page, _ in pages for each in page])
        if found is None:
            return None
        return latest_refusal(found, await self._api.warnings(key.namespace, found["metadata"]["uid"]))


def questions(model: KerasModel, observed: Observed) -> Iterator[Query]:
    """What is asked, now or later, if nothing changes."""
    for pod in observed.pods:
        silent, unready = startup_timeout_at(pod), readiness_timeout_at(pod)
        if silent is not None:
            yield Query(pod.uid, silent)
        elif unready is not None:
            at, container = unready
            overdue = download_timeout_at(at)
            if observed.now < overdue:
                yield Query(pod.uid, at, Log(pod.name, container))
            # What it says of a download is no news yet at first; by now it is, or something else is said.
            yield Query(pod.uid, overdue, Log(pod.name, container))
    job = observed.job(model) if observed.revision else None
    podless = pod_creation_deadline(job, observed) if job is not None else None
    if job is not None and podless is not None:
        yield Query(job.uid, podless)
    deployment = observed.deployment(model)
    refused = admission_failed_at(deployment) if deployment is not None else None
    if deployment is not None and refused is not None:
        yield Query(deployment.uid, refused, present_template(deployment))


def _interval(question: Query, now: datetime) -> float:
    """Seconds between asking the same twice."""
    if isinstance(question.about, Log):
        return LOG_EVERY_SECONDS
    young = (now - question.at).total_seconds() < PATIENCE_SECONDS
    return EVENTS_EVERY_SECONDS if young else EVENTS_LATER_EVERY_SECONDS
