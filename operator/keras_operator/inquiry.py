"""Looks up what the watch does not show: events of what hangs silently or is refused, the log of what is not ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from keras_api.resource import KerasModel
from keras_operator.api import Api, ApiError, UnavailableError
from keras_operator.kinds import REPLICA_SET, Key
from keras_operator.observe import Observed
from keras_operator.preparation import podless_from
from keras_operator.render.labels import selector, server_selector
from keras_operator.status.pods import LOG, Clue, download_overdue_from, silent_from, tells, unready_from
from keras_operator.status.refusal import (
    Template,
    latest_refusal,
    present_template,
    refused_from,
    refused_replica_set,
)
from keras_operator.times import seconds_until

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


class Question(NamedTuple):
    """What to look up about an object, and from when on."""

    uid: str
    at: datetime
    about: Log | Template | None = None
    """A log, the refusal of a template's pods, or with None the latest warning event."""


class Inquiry:
    """Remembers what was found about whom, for as long as it hangs."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._asked: dict[Key, dict[Question, tuple[float, Clue | None]]] = {}

    async def clues(self, model: KerasModel, seen: Observed) -> Mapping[str, Clue]:
        """What was found about each object of a model that hangs, by uid."""
        key = Key(model.metadata.namespace, model.metadata.name)
        known = self._asked.pop(key, {})
        asked = {}
        now = asyncio.get_running_loop().time()
        for question in questions(model, seen):
            if question.at > seen.now:
                continue
            answer = known.get(question)
            if answer is None or now >= answer[0] + _interval(question, seen.now):
                answer = (now, await self._ask(key, question))
            asked[question] = answer
        if asked:
            self._asked[key] = asked
        return {question.uid: clue for question, (_, clue) in asked.items() if clue is not None}

    def due(self, model: KerasModel, seen: Observed) -> float | None:
        """Seconds until there is something to ask, for the first time or again."""
        asked = self._asked.get(Key(model.metadata.namespace, model.metadata.name), {})
        now = asyncio.get_running_loop().time()
        return min(
            (
                asked[each][0] + _interval(each, seen.now) - now if each in asked else seconds_until(each.at, seen.now)
                for each in questions(model, seen)
            ),
            default=None,
        )

    def forget(self, key: Key) -> None:
        """Forget what was found about a model that is gone."""
        self._asked.pop(key, None)

    async def _ask(self, key: Key, question: Question) -> Clue | None:
        try:
            if isinstance(question.about, Log):
                line = await self._api.last_log_line(key.namespace, *question.about)
                return Clue(LOG, line) if line else None
            if question.about is not None:
                return await self._refusal(key, question.about)
            events = await self._api.warnings(key.namespace, question.uid)
        except (ApiError, UnavailableError) as error:
            # The status then says less, which is better than nothing.
            log.warning("cannot look up why something hangs: %s", error)
            return None
        return next((each for each in reversed(events) if tells(each)), None)

    async def _refusal(self, key: Key, template: Template) -> Clue | None:
        pages = self._api.pages(REPLICA_SET, key.namespace, selector(server_selector(key.name)))
        found = refused_replica_set(template, [each async for page, _ in pages for each in page])
        if found is None:
            return None
        return latest_refusal(found, await self._api.warnings(key.namespace, found["metadata"]["uid"]))


def questions(model: KerasModel, seen: Observed) -> Iterator[Question]:
    """What is asked, now or later, if nothing changes."""
    for pod in seen.pods:
        silent, unready = silent_from(pod), unready_from(pod)
        if silent is not None:
            yield Question(pod.uid, silent)
        elif unready is not None:
            at, container = unready
            overdue = download_overdue_from(at)
            if seen.now < overdue:
                yield Question(pod.uid, at, Log(pod.name, container))
            # What it says of a download is no news yet at first; by now it is, or something else is said.
            yield Question(pod.uid, overdue, Log(pod.name, container))
    job = seen.job(model) if seen.revision else None
    podless = podless_from(job, seen) if job is not None else None
    if job is not None and podless is not None:
        yield Question(job.uid, podless)
    deployment = seen.deployment(model)
    refused = refused_from(deployment) if deployment is not None else None
    if deployment is not None and refused is not None:
        yield Question(deployment.uid, refused, present_template(deployment))


def _interval(question: Question, now: datetime) -> float:
    """Seconds between asking the same twice."""
    if isinstance(question.about, Log):
        return LOG_EVERY_SECONDS
    young = (now - question.at).total_seconds() < PATIENCE_SECONDS
    return EVENTS_EVERY_SECONDS if young else EVENTS_LATER_EVERY_SECONDS
