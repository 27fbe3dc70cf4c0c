"""Makes the cluster as the plan wants it: applies what differs, deletes what is not wanted, takes over nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from keras_api.reasons import Reason
from keras_api.resource import KIND, KerasModel
from keras_operator.api import Api, ApiError, UnavailableError
from keras_operator.decide import Plan
from keras_operator.drift import annotated, holds, owned_digest
from keras_operator.kinds import CHILDREN, JOB, SERVICE_ACCOUNT, SERVICE_MONITOR, Key, Object, Ref
from keras_operator.live import Child, controller_of
from keras_operator.metrics import Metrics
from keras_operator.observe import Observed
from keras_operator.problem import Problem, missing_right
from keras_operator.world import World

_KINDS = {kind.name: kind for kind in CHILDREN}


class Actor:
    """The hands: everything that changes a child goes through here."""

    def __init__(self, api: Api, world: World, metrics: Metrics) -> None:
        self._api = api
        self._world = world
        self._metrics = metrics

    async def act(self, model: KerasModel, plan: Plan, seen: Observed) -> Mapping[Ref, Problem]:
        """Carry out a plan. Each child stands for itself: what fails for one is returned, and the others go on.

        Raises:
            UnavailableError: the API server does not answer; nothing can be said.
        """
        wanted = [*plan.apply, *([plan.start] if plan.start is not None else [])]
        # Pods are refused without their ServiceAccount, and Kubernetes then waits before it tries again.
        accounts = [obj for obj in wanted if obj["kind"] == SERVICE_ACCOUNT.name]
        others = [obj for obj in wanted if obj["kind"] != SERVICE_ACCOUNT.name]
        problems: dict[Ref, Problem] = {}
        for group in (accounts, others):
            problems |= await self._together(model, group, seen)
        await asyncio.gather(*(self._delete(model, ref, seen, problems) for ref in plan.delete))
        return problems

    async def _together(self, model: KerasModel, group: list[Object], seen: Observed) -> dict[Ref, Problem]:
        refs = [Ref(_KINDS[obj["kind"]], obj["metadata"]["name"]) for obj in group]
        results = await asyncio.gather(
            *(self._hold(model, ref, obj, seen) for ref, obj in zip(refs, group, strict=True)), return_exceptions=True
        )
        problems: dict[Ref, Problem] = {}
        for ref, result in zip(refs, results, strict=True):
            if isinstance(result, ApiError):
                problem = self._problem(ref, result)
                problems |= {ref: problem} if problem else {}
            elif isinstance(result, BaseException):
                raise result
            elif result is not None:
                problems[ref] = result
        return problems

    async def _hold(self, model: KerasModel, ref: Ref, rendered: Object, seen: Observed) -> Problem | None:
        """Make one child as it is rendered."""
        child = seen.children.get(ref)
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

    async def _make(self, model: KerasModel, ref: Ref, rendered: Object) -> Problem | None:
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
            trusted = holds(msgspec.json.decode(child.body), wanted)
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

    async def _delete(self, model: KerasModel, ref: Ref, seen: Observed, problems: dict[Ref, Problem]) -> None:
        try:
            await self._api.delete(ref.kind, model.metadata.namespace, ref.name, seen.children[ref].uid)
        except ApiError as error:
            problem = self._problem(ref, error)
            if problem:
                problems[ref] = problem

    def _problem(self, ref: Ref, error: ApiError) -> Problem | None:
        if error.status == 404 and ref.kind == SERVICE_MONITOR:
            self._world.has_service_monitors = False  # its CRD was removed a moment ago
            return None
        if error.status == 403 and (problem := missing_right(error.message)):
            return problem
        if error.status == 409:
            # Somebody changed it at the same moment, or it is being deleted: the next turn sees.
            raise UnavailableError(str(error))
        return Problem(Reason.APPLY_FAILED, f"{ref}: {error.message or error}")


def _only_new(obj: Object) -> Object:
    """An object that can be applied only where there is none: where there is one, the API server answers 409.

    No live object has this version, since the first thing written to etcd already has a higher one.
    """
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": "1"}}


def _is_ours(live: Object, model: KerasModel) -> bool:
    """Whether an object is this model's own, or was: applied by us, and then somebody removed its owner."""
    controller = controller_of(live)
    if controller is None:
        return owned_digest(live) is not None
    return controller == model.metadata.uid


def _conflict(ref: Ref, live: Object) -> Problem:
    owners = [owner for owner in live["metadata"].get("ownerReferences") or [] if owner.get("controller")]
    if owners and owners[0]["kind"] == KIND and "deletionTimestamp" not in live["metadata"]:
        whose = f"belongs to the {KIND} {owners[0]['name']} with uid {owners[0]['uid']}"
    elif owners:
        whose = f"belongs to {owners[0]['kind']} {owners[0]['name']}"
    else:
        whose = "was made by somebody else"
    return Problem(Reason.NAME_CONFLICT, f"{ref} exists and {whose}: rename the KerasModel, or delete that object")


def _is_changed_list_key(error: ApiError) -> bool:
    return error.status == 422 and "Duplicate value" in error.message
