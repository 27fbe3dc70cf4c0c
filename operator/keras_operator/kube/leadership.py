"""Which operator is at work while there are two, as in an upgrade: the youngest living pod, which holds the Lease.

Two operators of different versions would undo each other's work for ever. A Lease that is renewed would tell them
apart, but costs a write every few seconds; this one is written when its holder changes, and read before anything else
is written. An operator that finds another's name there rests, and takes the Lease back when that one's pod is gone.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from keras_operator.kube.client import ApiError, KubeClient, UnavailableError
from keras_operator.kube.kinds import LEASE, POD, Object
from keras_operator.kube.metrics import Metrics

# One look at the Lease is good for what is written within this time. A new holder waits as long before it begins.
TRUST_SECONDS = 1.0
# How soon an operator that rests notices that it is needed.
LOOK_SECONDS = 5.0

log = logging.getLogger(__name__)


class SupersededError(Exception):
    """Another operator is at work, or is about to be: nothing may be written."""


class NoLeaderElection:
    """Stands in for the Lease where there is none: whoever starts two operators must know what they do."""

    is_settled = True

    def __init__(self, metrics: Metrics) -> None:
        metrics.leading(True)

    async def held(self) -> None:
        """Wait for nothing."""

    async def check(self) -> None:
        """Find nothing wrong."""

    async def keep(self) -> None:
        """Say it once."""
        log.info("no Lease is set (KERAS_OPERATOR_LEASE): this must be the only operator")


class Lease:
    """This operator's hold on the Lease."""

    def __init__(self, api: KubeClient, metrics: Metrics, lease: str, pod: str) -> None:
        """`lease` is written ``namespace/name``; `pod` names this operator's own pod in the same namespace."""
        self._api = api
        self._metrics = metrics
        self._lease = lease
        self._namespace, _, self._name = lease.partition("/")
        self._pod = pod
        self._held = asyncio.Event()
        self._lost = asyncio.Event()
        self._lost.set()
        self._leader = ""
        self._looked = -TRUST_SECONDS
        self._look: asyncio.Task[None] | None = None
        metrics.leading(False)

    @property
    def is_settled(self) -> bool:
        """Whether it is known who is at work, be it this operator or another one."""
        return bool(self._leader)

    async def held(self) -> None:
        """Wait until this operator is the one to work."""
        await self._held.wait()

    async def check(self) -> None:
        """Make sure that this operator may write: one request a second at most, whoever asks.

        Raises:
            SupersededError: another one holds the Lease.
            UnavailableError: the Lease cannot be read.
        """
        if _now() - self._looked < TRUST_SECONDS and self._held.is_set():
            return
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._look_up())
        await asyncio.shield(self._look)

    async def keep(self) -> None:
        """Take the Lease whenever it is this operator's turn, for ever."""
        while True:
            await self._lost.wait()
            try:
                await self._take()
            except (ApiError, UnavailableError) as error:
                log.warning("no model is worked on, since the Lease %s cannot be taken: %s", self._lease, error)
            if self._lost.is_set():
                await asyncio.sleep(LOOK_SECONDS)

    async def _look_up(self) -> None:
        began = _now()
        try:
            holder = await self._holder()
        except ApiError as error:
            raise UnavailableError(f"nothing is written without the Lease {self._lease}: {error}") from error
        if holder != self._pod:
            self._follow(holder)
        if not self._held.is_set():
            raise SupersededError(f"the Lease {self._lease} is held by {holder or 'nobody'}")
        self._looked = began

    async def _take(self) -> None:
        holder = await self._holder()
        if holder != self._pod:
            theirs = await self._age(holder) if holder else None
            if theirs is not None and theirs > (await self._age(self._pod) or _NO_AGE):
                self._follow(holder)
                return
            await self._api.apply(LEASE, self._rendered())
            if theirs is not None:
                await asyncio.sleep(TRUST_SECONDS)
        self._lead()

    async def _holder(self) -> str:
        lease = await self._api.get(LEASE, self._namespace, self._name)
        return "" if lease is None else str(lease.get("spec", {}).get("holderIdentity") or "")

    async def _age(self, name: str) -> tuple[str, str] | None:
        """What orders pods from the oldest to the youngest; None for one that is gone, going or at its end."""
        pod = await self._api.get(POD, self._namespace, name)
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            return None
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return None
        return pod["metadata"]["creationTimestamp"], name

    def _rendered(self) -> Object:
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._pod,
                "acquireTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            },
        }

    def _lead(self) -> None:
        log.info("at work: the Lease %s is held by %s, which is this operator", self._lease, self._pod)
        self._leader = self._pod
        self._looked = -TRUST_SECONDS
        self._lost.clear()
        self._held.set()
        self._metrics.leading(True)

    def _follow(self, leader: str) -> None:
        if leader != self._leader:
            log.warning("at rest: the Lease %s is held by %s, not by %s", self._lease, leader or "nobody", self._pod)
        self._leader = leader
        self._held.clear()
        self._lost.set()
        self._metrics.leading(False)


_NO_AGE = ("", "")


def _now() -> float:
    return asyncio.get_running_loop().time()
