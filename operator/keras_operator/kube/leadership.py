"""Leader election between two operators, as in an upgrade: the youngest running pod is the leader and holds the Lease.

Two operators of different versions would revert each other's changes forever. client-go's leader election renews its
Lease every few seconds; this one writes the Lease only when the leader changes, and reads it before every other write,
so that an idle operator writes nothing. An operator that finds another leader is on standby, and takes the Lease back
when the leader's pod no longer exists.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from keras_operator.kube.client import KubeClient
from keras_operator.kube.errors import ApiError, UnavailableError
from keras_operator.kube.kinds import LEASE, POD, Object
from keras_operator.kube.metrics import Metrics

# A check of the Lease is valid for all writes within this time. A new leader waits as long before its first write.
CHECK_SECONDS = 1.0
# Interval at which an operator on standby checks that the leader exists.
STANDBY_SECONDS = 5.0

log = logging.getLogger(__name__)


class SupersededError(Exception):
    """Another operator is the leader, or is about to be: this one must not write."""


class NoLeaderElection:
    """No leader election: this operator must be the only one."""

    is_settled = True

    def __init__(self, metrics: Metrics) -> None:
        metrics.leading(True)

    async def wait_until_leader(self) -> None:
        """Return at once."""

    async def ensure_leader(self) -> None:
        """Allow every write."""

    async def run(self) -> None:
        """Log once that there is no leader election."""
        log.info("no Lease is set (KERAS_OPERATOR_LEASE): this must be the only operator")


class LeaderElection:
    """Decides whether this operator is the leader."""

    def __init__(self, api: KubeClient, metrics: Metrics, lease: str, pod: str) -> None:
        """`lease` is written ``namespace/name``; `pod` names this operator's own pod in the same namespace."""
        self._api = api
        self._metrics = metrics
        self._lease = lease
        self._namespace, _, self._name = lease.partition("/")
        self._pod = pod
        self._leads = asyncio.Event()
        self._lost = asyncio.Event()
        self._lost.set()
        self._leader = ""
        self._checked = -CHECK_SECONDS
        self._check: asyncio.Task[None] | None = None
        metrics.leading(False)

    @property
    def is_settled(self) -> bool:
        """Whether the leader is known, this operator or another one."""
        return bool(self._leader)

    async def wait_until_leader(self) -> None:
        """Wait until this operator is the leader."""
        await self._leads.wait()

    async def ensure_leader(self) -> None:
        """Check that this operator is the leader: at most one request a second, for all callers together.

        Raises:
            SupersededError: another operator holds the Lease.
            UnavailableError: the Lease cannot be read.
        """
        if _now() - self._checked < CHECK_SECONDS and self._leads.is_set():
            return
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._read())
        await asyncio.shield(self._check)

    async def run(self) -> None:
        """Acquire the Lease whenever this operator must lead. Never returns."""
        while True:
            await self._lost.wait()
            try:
                await self._take()
            except (ApiError, UnavailableError) as error:
                log.warning("no model is reconciled: the Lease %s cannot be acquired: %s", self._lease, error)
            if self._lost.is_set():
                await asyncio.sleep(STANDBY_SECONDS)

    async def _read(self) -> None:
        began = _now()
        try:
            holder = await self._holder()
        except ApiError as error:
            raise UnavailableError(f"the Lease {self._lease} cannot be read, so nothing is written: {error}") from error
        if holder != self._pod:
            self._follow(holder)
        if not self._leads.is_set():
            raise SupersededError(f"the Lease {self._lease} is held by {holder or 'no pod'}")
        self._checked = began

    async def _take(self) -> None:
        holder = await self._holder()
        if holder != self._pod:
            others = await self._age(holder) if holder else None
            if others is not None and others > (await self._age(self._pod) or _NO_AGE):
                self._follow(holder)
                return
            await self._api.apply(LEASE, self._rendered())
            if others is not None:
                await asyncio.sleep(CHECK_SECONDS)
        self._lead()

    async def _holder(self) -> str:
        lease = await self._api.get(LEASE, self._namespace, self._name)
        return "" if lease is None else str(lease.get("spec", {}).get("holderIdentity") or "")

    async def _age(self, name: str) -> tuple[str, str] | None:
        """A key that sorts pods by age, the oldest first; None for a pod that does not exist or has ended."""
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
        log.info("this operator is the leader: the Lease %s is held by %s", self._lease, self._pod)
        self._leader = self._pod
        self._checked = -CHECK_SECONDS
        self._lost.clear()
        self._leads.set()
        self._metrics.leading(True)

    def _follow(self, leader: str) -> None:
        if leader != self._leader:
            log.warning(
                "this operator is on standby: the Lease %s is held by %s, not by %s",
                self._lease,
                leader or "no pod",
                self._pod,
            )
        self._leader = leader
        self._leads.clear()
        self._lost.set()
        self._metrics.leading(False)


_NO_AGE = ("", "")


def _now() -> float:
    return asyncio.get_running_loop().time()
