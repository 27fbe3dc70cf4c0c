"""Makes the cluster as the plan wants it: applies what differs, deletes what is not wanted, takes over nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from keras_api.reasons import Reason
from keras_api.resource import KIND, KerasModel
from keras_operator.cache.cache import Cache
from keras_operator.cache.objects import Child, controller_of
from keras_operator.decide.plan import Plan
from keras_operator.kube.client import ApiError, KubeClient, UnavailableError
from keras_operator.kube.drift import annotated, contains, managed_fields_hash
from keras_operator.kube.errors import ApplyError, missing_right
from keras_operator.kube.kinds import CHILDREN, JOB, SERVICE_ACCOUNT, SERVICE_MONITOR, Key, Object, Ref
from keras_operator.kube.metrics import Metrics
from keras_operator.state.observed import Observed

_KINDS = {kind.name: kind for kind in CHILDREN}


class Applier:
    """The hands: everything that changes a child goes through here."""

    def __init__(self, api: KubeClient, world: Cache, metrics: Metrics) -> None:
        self._api = api
        self._world = world
        self._metrics = metrics

    async def act(self, model: KerasModel, plan: Plan, observed: Observed) -> Mapping[Ref, ApplyError]:
        """Carry out a plan. Each child stands for itself: what fails for one is returned, and the others go on.

        Raises:
            UnavailableError: the API server does not answer; nothing can be said.
        """
        wanted = [*plan.apply, *([plan.start] if plan.start is not None else [])]
        # Pods are refused without their ServiceAccount, and Kubernetes then waits before it tries again.
        accounts = [obj for obj in wanted if obj["kind"] == SERVICE_ACCOUNT.name]
        others = [obj for obj in wanted if obj["kind"] != SERVICE_ACCOUNT.name]
        problems: dict[Ref, ApplyError] = {}
        for group in (accounts, others):
            problems |= await self._together(model, group, observed)
        await asyncio.gather(*(self._delete(model, ref, observed, problems) for ref in plan.delete))
        return problems

    async def _together(self, model: KerasModel, group: list[Object], observed: Observed) -> dict[Ref, ApplyError]:
        refs = [Ref(_KINDS[obj["kind"]], obj["metadata"]["name"]) for obj in group]
        results = await asyncio.gather(
            *(self._hold(model, ref, obj, observed) for ref, obj in zip(refs, group, strict=True)),
            return_exceptions=True,
        )
        problems: dict[Ref, ApplyError] = {}
        for ref, result in zip(refs, results, strict=True):
            if isinstance(result, ApiError):
                problem = self._problem(ref, result)
                problems |= {ref: problem} if problem else {}
            elif isinstance(result, BaseException):
                raise result
            elif result is not None:
                problems[ref] = result
        return problems

    async def _hold(self, model: KerasModel, ref: Ref, rendered: Object, observed: Observed) -> ApplyError | None:
        """Make one child as it is rendered."""
        child = observed.children.get(ref)
        if child is None:
            return await self._make(model, ref, rendered)
        if child.controller != model.metadata.uid and not (child.controller is None and child.digest is not None):
            live = await self._api.get(ref.kind, model.metadata.namespace, ref.name)
            return None if live is None else _conflict(ref, live)
        if child.deleting:
            return None  # its end is an event, and then it is made anew
        if ref.kind == JOB:
            # A Job cannot be changed: the finished one makes room for the next attempt.
            await self._api.delete(ref.kind, model.metadata.namespace, ref.name, child.uid)
            await self._apply(ref, rendered, "changed")
            return None
        await self._keep(model, child, rendered)
        return None

    async def _make(self, model: KerasModel, ref: Ref, rendered: Object) -> ApplyError | None:
        """Make a child that is not known by its label, unless somebody else's object has the name."""
        wanted, _ = annotated(rendered)
        try:
            made = await self._api.apply(ref.kind, _only_new(wanted))
        except ApiError as error:
            if error.status != 409:
                raise
            live = await self._api.get(ref.kind, model.metadata.namespace, ref.name)
            if live is None:
                raise
            if not _is_ours(live, model):
                return _conflict(ref, live)
            await self._apply(ref, rendered, "drift")
            return None
        self._applied(ref, made, "missing")
        return None

    async def _keep(self, model: KerasModel, child: Child, rendered: Object) -> None:
        """Apply a child that exists, if it differs from what is rendered."""
        wanted, digest = annotated(rendered)
        if child.rendered != digest:
            await self._apply(child.ref, rendered, "changed")
            return
        trusted = self._world.trusts(child)
        if trusted is None and child.body is not None:
            trusted = contains(msgspec.json.decode(child.body), wanted)
        if trusted:
            self._world.trust(Key(model.metadata.namespace, model.metadata.name), child)
        else:
            await self._apply(child.ref, rendered, "drift")

    async def _apply(self, ref: Ref, rendered: Object, cause: str) -> None:
        wanted, _ = annotated(rendered)
        try:
            live = await self._api.apply(ref.kind, wanted)
        except ApiError as error:
            if not _is_changed_list_key(error):
                raise
            # Somebody changed the key of a list's entry (the port of a Service), which applying cannot change back.
            await self._api.replace_spec(ref.kind, wanted)
            live = await self._api.apply(ref.kind, wanted)
        self._applied(ref, live, cause)

    def _applied(self, ref: Ref, live: Object, cause: str) -> None:
        self._metrics.applied(ref.kind.name, cause)
        self._world.see_applied(ref.kind, live)

    async def _delete(self, model: KerasModel, ref: Ref, observed: Observed, problems: dict[Ref, ApplyError]) -> None:
        try:
            await self._api.delete(ref.kind, model.metadata.namespace, ref.name, observed.children[ref].uid)
        except ApiError as error:
            problem = self._problem(ref, error)
            if problem:
                problems[ref] = problem

    def _problem(self, ref: Ref, error: ApiError) -> ApplyError | None:
        if error.status == 404 and ref.kind == SERVICE_MONITOR:
            self._world.has_service_monitors = False  # its CRD was removed a moment ago
            return None
        if error.status == 403 and (problem := missing_right(error.message)):
            return problem
        if error.status == 409:
            # Somebody changed it at the same moment, or it is being deleted: the next turn sees.
            raise UnavailableError(str(error))
        return ApplyError(Reason.APPLY_FAILED, f"{ref}: {error.message or error}")


def _only_new(obj: Object) -> Object:
    """An object that can be applied only where there is none: where there is one, the API server answers 409.

    No live object has this version, since the first thing written to etcd already has a higher one.
    """
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": "1"}}


def _is_ours(live: Object, model: KerasModel) -> bool:
    """Whether an object is this model's own, or was: applied by us, and then somebody removed its owner."""
    controller = controller_of(live)
    if controller is None:
        return managed_fields_hash(live) is not None
    return controller == model.metadata.uid


def _conflict(ref: Ref, live: Object) -> ApplyError:
    owners = [owner for owner in live["metadata"].get("ownerReferences") or [] if owner.get("controller")]
    if owners and owners[0]["kind"] == KIND and "deletionTimestamp" not in live["metadata"]:
        whose = f"belongs to the {KIND} {owners[0]['name']} with uid {owners[0]['uid']}"
    elif owners:
        whose = f"belongs to {owners[0]['kind']} {owners[0]['name']}"
    else:
        whose = "was made by somebody else"
    return ApplyError(Reason.NAME_CONFLICT, f"{ref} exists and {whose}: rename the KerasModel, or delete that object")


def _is_changed_list_key(error: ApiError) -> bool:
    return error.status == 422 and "Duplicate value" in error.message
