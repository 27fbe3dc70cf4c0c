"""Says on the resource what is so: one status patch, only when it differs, and Events on transitions."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime
from http import HTTPStatus

import msgspec

from keras_api import resource
from keras_api.reasons import ConditionType
from keras_api.resource import Condition, KerasModel, KerasModelStatus
from keras_operator.cache.cache import Cache
from keras_operator.kube.client import ApiError, KubeClient, UnavailableError
from keras_operator.kube.kinds import KERAS_MODEL, Key, Object
from keras_operator.kube.metrics import Metrics
from keras_operator.kube.times import written
from keras_operator.naming.labels import MANAGER
from keras_operator.state.conditions import find_condition

log = logging.getLogger(__name__)


class StatusWriter:
    """The voice: everything that users read on their resource goes through here."""

    def __init__(self, api: KubeClient, world: Cache, metrics: Metrics) -> None:
        self._api = api
        self._world = world
        self._metrics = metrics

    async def report(self, model: KerasModel, status: KerasModelStatus, now: datetime) -> None:
        """Write the status if it differs from what the resource says, and tell transitions.

        Raises:
            UnavailableError: the API server does not answer.
            ApiError: it refuses, other than because the resource is gone.
        """
        key = Key(model.metadata.namespace, model.metadata.name)
        content: Object = msgspec.to_builtins(status)
        known = self._world.model(key)
        if known is None or known["status"] == content:
            return
        try:
            live = await self._api.replace_status(key, model.metadata.uid, content)
        except ApiError as error:
            if not await self._is_gone(key, model.metadata.uid, error):
                raise
            log.info("%s: its status is not written, it is gone: %s", key, error)
            return
        self._metrics.status_written()
        self._world.see(KERAS_MODEL, live)
        for event in transitions(model, status, now):
            try:
                await self._api.create_event(event)
            except (ApiError, UnavailableError) as error:
                # An Event is a courtesy; the status has it all.
                log.warning("%s: event not recorded: %s", key, error)

    async def _is_gone(self, key: Key, uid: str, error: ApiError) -> bool:
        """Whether a status was refused because there is no such model any more, not because of what it says."""
        if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            return error.status == HTTPStatus.NOT_FOUND
        live = await self._api.get(KERAS_MODEL, key.namespace, key.name)
        return live is None or live["metadata"]["uid"] != uid


def transitions(model: KerasModel, status: KerasModelStatus, now: datetime) -> list[Object]:
    """Events that tell what has changed between the resource's status and a new one.

    Each is a write as dear as a status patch: failures are told, and that a model turns ready or ceases to be, but not
    every step on the way there.
    """
    events = []
    before, after = find_condition(model.status, ConditionType.READY), find_condition(status, ConditionType.READY)
    failure = status.last_failure
    new_failure = failure is not None and failure != model.status.last_failure
    if new_failure and failure is not None:
        events.append(_event(model, "Warning", failure.reason, failure.message, now))
    told = new_failure and failure is not None and after is not None and failure.reason == after.reason
    if after is not None and not told and _is_true(before) != _is_true(after):
        events.append(_event(model, "Normal", after.reason, after.message, now))
    return events


def _is_true(condition: Condition | None) -> bool:
    return condition is not None and condition.status == "True"


def _event(model: KerasModel, kind: str, reason: str, message: str, now: datetime) -> Object:
    metadata = model.metadata
    time = written(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata.name}.{uuid.uuid4().hex[:16]}", "namespace": metadata.namespace},
        "involvedObject": {
            "apiVersion": resource.API_VERSION,
            "kind": resource.KIND,
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message[:1000],
        "source": {"component": MANAGER},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
