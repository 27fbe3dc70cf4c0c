"""Applies plans: server-side apply of objects that differ, deletion of obsolete ones. No foreign object is adopted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec

from keras_api.reasons import Reason
from keras_api.resource import KIND, KerasModel
from keras_operator.cache.cache import Cache
from keras_operator.cache.objects import Child, controller_of
from keras_operator.components.base import Config
from keras_operator.decide.plan import Desired, Plan
from keras_operator.kube.client import KubeClient
from keras_operator.kube.drift import annotated, contains, managed_fields_hash
from keras_operator.kube.errors import ApiError, ApplyError, UnavailableError, missing_permission
from keras_operator.kube.kinds import JOB, Key, Object, Ref
from keras_operator.kube.metrics import Metrics
from keras_operator.state.observed import Observed


class Applier:
    """Makes every change of a child."""

    def __init__(self, client: KubeClient, cache: Cache, config: Config, metrics: Metrics) -> None:
        self._client = client
        self._cache = cache
        self._optional = {each.child.kind for each in config.components if each.child.optional}
        self._metrics = metrics

    async def apply(self, model: KerasModel, plan: Plan, observed: Observed) -> Mapping[Ref, ApplyError]:
        """Apply a plan. An error with one child is returned; the other children are applied nevertheless.

        Raises:
            UnavailableError: the API server does not answer.
        """
        errors: dict[Ref, ApplyError] = {}
        for wave in plan.waves:
            errors |= await self._apply_all(model, wave, observed)
        await asyncio.gather(*(self._delete(model, ref, observed, errors) for ref in plan.delete))
        return errors

    async def _apply_all(self, model: KerasModel, wave: Sequence[Desired], observed: Observed) -> dict[Ref, ApplyError]:
        results = await asyncio.gather(
            *(self._apply_one(model, each.ref, each.rendered, observed) for each in wave), return_exceptions=True
        )
        errors: dict[Ref, ApplyError] = {}
        for (ref, _), result in zip(wave, results, strict=True):
            if isinstance(result, ApiError):
                error = self._error(ref, result)
                errors |= {ref: error} if error else {}
            elif isinstance(result, BaseException):
                raise result
            elif result is not None:
                errors[ref] = result
        return errors

    async def _apply_one(self, model: KerasModel, ref: Ref, rendered: Object, observed: Observed) -> ApplyError | None:
        child = observed.children.get(ref)
        if child is None:
            return await self._create(model, ref, rendered)
        if not _is_ours(child.controller, child.managed_fields_hash, model):
            live = await self._client.get(ref.kind, model.metadata.namespace, ref.name)
            return None if live is None else _conflict(ref, live)
        if child.deleting:
            return None  # the event of its deletion enqueues the model, which creates it again
        if ref.kind == JOB:
            # A Job is immutable: the finished one must be deleted before the next attempt.
            await self._client.delete(ref.kind, model.metadata.namespace, ref.name, child.uid)
            return await self._create(model, ref, rendered, "changed")
        return await self._update(model, child, rendered)

    async def _create(self, model: KerasModel, ref: Ref, rendered: Object, cause: str = "missing") -> ApplyError | None:
        """Create a child that the cache does not know, unless another owner's object has the name."""
        desired, _ = annotated(rendered)
        try:
            created = await self._client.apply(ref.kind, _only_new(desired))
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            live = await self._client.get(ref.kind, model.metadata.namespace, ref.name)
            if live is None:
                raise
            if not _is_ours(controller_of(live), managed_fields_hash(live), model):
                return _conflict(ref, live)
            await self._patch(ref, rendered, live["metadata"]["uid"], "drift")
            return None
        self._record(ref, created, cause)
        return None

    async def _update(self, model: KerasModel, child: Child, rendered: Object) -> ApplyError | None:
        """Apply a child that the cache knows, if it differs from the rendered object."""
        desired, rendered_hash = annotated(rendered)
        changed = child.rendered != rendered_hash
        if not changed and self._is_unmodified(child, desired):
            self._cache.mark_unmodified(Key(model.metadata.namespace, model.metadata.name), child)
            return None
        try:
            await self._patch(child.ref, rendered, child.uid, "changed" if changed else "drift")
        except ApiError as error:
            if not _is_other_object(error):
                raise
            # The watch is late: the child was deleted, and another object may have its name.
            return await self._create(model, child.ref, rendered)
        return None

    def _is_unmodified(self, child: Child, desired: Object) -> bool:
        unmodified = self._cache.is_unmodified(child)
        if unmodified is None and child.body is not None:
            unmodified = contains(msgspec.json.decode(child.body), desired)
        return bool(unmodified)

    async def _patch(self, ref: Ref, rendered: Object, uid: str, cause: str) -> None:
        """Apply an object that exists; fails when the name belongs to an object with another uid by now."""
        desired, _ = annotated(rendered)
        desired["metadata"]["uid"] = uid
        try:
            live = await self._client.apply(ref.kind, desired)
        except ApiError as error:
            if _is_other_object(error) or not _is_changed_list_key(error):
                raise
            # Another client changed the merge key of a list entry (the port of a Service): an apply cannot revert that.
            await self._client.replace_spec(ref.kind, desired)
            live = await self._client.apply(ref.kind, desired)
        self._record(ref, live, cause)

    def _record(self, ref: Ref, live: Object, cause: str) -> None:
        self._metrics.applied(ref.kind.name, cause)
        self._cache.update_applied(ref.kind, live)

    async def _delete(self, model: KerasModel, ref: Ref, observed: Observed, errors: dict[Ref, ApplyError]) -> None:
        try:
            await self._client.delete(ref.kind, model.metadata.namespace, ref.name, observed.children[ref].uid)
        except ApiError as error:
            failed = self._error(ref, error)
            if failed is not None:
                errors[ref] = failed

    def _error(self, ref: Ref, error: ApiError) -> ApplyError | None:
        if error.status == HTTPStatus.NOT_FOUND and ref.kind in self._optional:
            self._cache.set_served(ref.kind, False)  # its CRD was removed a moment ago
            return None
        if error.status == HTTPStatus.FORBIDDEN and (permission := missing_permission(error.message)):
            return permission
        if error.status == HTTPStatus.CONFLICT:
            # Another client changed it at the same moment, or it is being deleted: a retry observes the new state.
            raise UnavailableError(str(error))
        return ApplyError(Reason.APPLY_FAILED, f"{ref}: {error.message or error}")


def _only_new(obj: Object) -> Object:
    """An object that can only be created: the API server answers 409 where one of that name exists.

    No live object has this version: the first write to etcd has a higher one already.
    """
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": "1"}}


def _is_ours(controller: str | None, fields_hash: str | None, model: KerasModel) -> bool:
    """Whether an object is this model's own, or an orphan: applied by the operator, and without an owner since then."""
    if controller is None:
        return fields_hash is not None
    return controller == model.metadata.uid


def _conflict(ref: Ref, live: Object) -> ApplyError:
    owners = [owner for owner in live["metadata"].get("ownerReferences") or [] if owner.get("controller")]
    if owners and owners[0]["kind"] == KIND and "deletionTimestamp" not in live["metadata"]:
        whose = f"belongs to the {KIND} {owners[0]['name']} with uid {owners[0]['uid']}"
    elif owners:
        whose = f"belongs to {owners[0]['kind']} {owners[0]['name']}"
    else:
        whose = "was not created by this operator"
    return ApplyError(Reason.NAME_CONFLICT, f"{ref} exists and {whose}: rename the KerasModel, or delete that object")


def _is_other_object(error: ApiError) -> bool:
    """Whether an apply with a uid may have failed because the object with that uid does not exist."""
    return error.status == HTTPStatus.CONFLICT or (
        error.status == HTTPStatus.UNPROCESSABLE_ENTITY and "metadata.uid" in error.message
    )


def _is_changed_list_key(error: ApiError) -> bool:
    return error.status == HTTPStatus.UNPROCESSABLE_ENTITY and "Duplicate value" in error.message
