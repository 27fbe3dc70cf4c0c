"""Publishes the status on the resource: one patch, only when it differs, and Events on transitions."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime
from http import HTTPStatus

import msgspec

from keras_api import resource
from keras_api.reasons import ConditionType
from keras_api.resource import KerasModel, KerasModelStatus
from keras_operator.cache.cache import Cache
from keras_operator.kube.client import KubeClient
from keras_operator.kube.errors import ApiError, UnavailableError
from keras_operator.kube.identity import MANAGER
from keras_operator.kube.kinds import KERAS_MODEL, Key, Object
from keras_operator.kube.metrics import Metrics
from keras_operator.kube.times import written
from keras_operator.state.conditions import find_condition, is_true

log = logging.getLogger(__name__)


class StatusWriter:
    """Writes every status and every Event."""

    def __init__(self, client: KubeClient, cache: Cache, metrics: Metrics) -> None:
        self._client = client
        self._cache = cache
        self._metrics = metrics

    async def write(self, model: KerasModel, status: KerasModelStatus, now: datetime) -> None:
        """Write the status if it differs from the present one, and create Events for its transitions.

        Raises:
            UnavailableError: the API server does not answer.
            ApiError: it rejects the status, and the resource still exists.
        """
        key = Key(model.metadata.namespace, model.metadata.name)
        content: Object = msgspec.to_builtins(status)
        known = self._cache.model(key)
        if known is None or known["status"] == content:
            return
        try:
            live = await self._client.replace_status(key, model.metadata.uid, content)
        except ApiError as error:
            if not await self._is_gone(key, model.metadata.uid, error):
                raise
            log.info("%s: the status is not written, because the model no longer exists: %s", key, error)
            return
        self._metrics.status_written()
        self._cache.update(KERAS_MODEL, live)
        for event in transitions(model, status, now):
            try:
                await self._client.create_event(event)
            except (ApiError, UnavailableError) as error:
                # An Event only repeats what the status contains.
                log.warning("%s: the Event cannot be created: %s", key, error)

    async def _is_gone(self, key: Key, uid: str, error: ApiError) -> bool:
        """Whether a status was rejected because the model no longer exists, and not for its content."""
        if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            return error.status == HTTPStatus.NOT_FOUND
        live = await self._client.get(KERAS_MODEL, key.namespace, key.name)
        return live is None or live["metadata"]["uid"] != uid


def transitions(model: KerasModel, status: KerasModelStatus, now: datetime) -> list[Object]:
    """Events for the differences between the resource's status and a new one.

    Each Event costs as much as a status patch: there is one for a failure, and one when a model becomes Ready or stops
    being Ready, but none for the steps between.
    """
    events = []
    before, after = find_condition(model.status, ConditionType.READY), find_condition(status, ConditionType.READY)
    failure = status.last_failure
    new_failure = failure is not None and failure != model.status.last_failure
    if new_failure and failure is not None:
        events.append(_event(model, "Warning", failure.reason, failure.message, now))
    is_reported = new_failure and failure is not None and after is not None and failure.reason == after.reason
    if after is not None and not is_reported and is_true(before) != is_true(after):
        events.append(_event(model, "Normal", after.reason, after.message, now))
    return events


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
