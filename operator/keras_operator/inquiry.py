"""Looks up the events of pods and Jobs that hang without their status saying why: the only reads besides the watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from keras_api.resource import KerasModel
from keras_operator.api import Api, ApiError, UnavailableError
from keras_operator.observe import Observed
from keras_operator.preparation import silent_job
from keras_operator.status.pods import Clue, is_silent

# The kubelet and the controllers repeat what still hinders them about as often.
ASK_EVERY_SECONDS = 30

log = logging.getLogger(__name__)


class Inquiry:
    """Remembers what was found about whom, for as long as it hangs."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._asked: dict[str, tuple[float, Clue | None]] = {}

    async def clues(self, model: KerasModel, seen: Observed) -> Mapping[str, Clue]:
        """The latest warning about each silent object of a model, by uid."""
        silent = set(silent_uids(model, seen))
        for uid in [pod.uid for pod in seen.pods] + [job.uid for job in seen.jobs()]:
            if uid not in silent:
                self._asked.pop(uid, None)
        found = {}
        now = asyncio.get_running_loop().time()
        for uid in silent:
            asked = self._asked.get(uid)
            if asked is None or now - asked[0] >= ASK_EVERY_SECONDS:
                asked = self._asked[uid] = (now, await self._ask(model.metadata.namespace, uid))
            if asked[1] is not None:
                found[uid] = asked[1]
        return found

    async def _ask(self, namespace: str, uid: str) -> Clue | None:
        try:
            events = await self._api.warnings(namespace, uid)
        except (ApiError, UnavailableError) as error:
            # The status then says less, which is better than nothing.
            log.warning("cannot look up why something hangs: %s", error)
            return None
        return events[-1] if events else None


def silent_uids(model: KerasModel, seen: Observed) -> Iterable[str]:
    """Objects that hang without a word."""
    yield from (pod.uid for pod in seen.pods if is_silent(pod, seen.now))
    job = silent_job(model, seen)
    if job is not None:
        yield job.uid
