"""Evidence about objects that make no progress: what is looked up, when, and how often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest
from operator_makers import (
    KEY,
    NOW,
    REJECTED_UID,
    ago,
    deployment_status,
    job,
    model,
    observed_state,
    pod,
    rejected_deployment,
    replica_set,
)

from keras_operator.kube.client import KubeClient
from keras_operator.kube.errors import UnavailableError
from keras_operator.kube.evidence import LOG, Evidence
from keras_operator.kube.kinds import DEPLOYMENT, JOB, Kind, Object
from keras_operator.lookups.diagnostics import DiagnosticsCollector
from keras_operator.state.observed import Observed
from keras_operator.tasks import TASKS

MODEL = model()
REVISION = observed_state(MODEL).revision
MOUNT = Evidence("FailedMount", 'secret "x" not found')


@dataclass
class FakeClient:
    """A client that returns configured evidence, and records the requests."""

    events: list[Evidence] = field(default_factory=lambda: [MOUNT])
    line: str = "never ready"
    replica_sets: list[Object] = field(default_factory=list)
    down: bool = False
    requests: list[str] = field(default_factory=list)

    async def warnings(self, namespace: str, uid: str) -> list[Evidence]:
        self.requests.append(f"events of {uid}")
        if self.down:
            raise UnavailableError("down")
        return self.events

    async def last_log_line(self, namespace: str, name: str, container: str) -> str:
        self.requests.append(f"log of {name} {container}")
        return self.line

    async def pages(self, kind: Kind, namespace: str, selector: str) -> AsyncIterator[tuple[list[Object], int]]:
        self.requests.append(f"{kind.plural} with {selector}")
        yield self.replica_sets, 1


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def diagnostics(client: FakeClient) -> DiagnosticsCollector:
    return DiagnosticsCollector(cast(KubeClient, client), TASKS)


def stuck(**status: Any) -> Object:
    return pod("server", REVISION, **status)  # created 30 seconds ago


def unready(seconds: float) -> Object:
    started = {"name": "server", "ready": False, "state": {"running": {"startedAt": ago(seconds)}}}
    return stuck(phase="Running", containerStatuses=[started])


def at(observed: Observed, seconds: float) -> Observed:
    return replace(observed, now=NOW + timedelta(seconds=seconds))


async def test_the_events_of_a_stuck_pod_are_looked_up(diagnostics: DiagnosticsCollector, client: FakeClient) -> None:
    assert await diagnostics.get(MODEL, observed_state(MODEL, pods=(stuck(),))) == {"uid-pod-a": MOUNT}
    assert client.requests == ["events of uid-pod-a"]


async def test_a_pod_is_looked_up_once_its_startup_timeout_is_over(
    diagnostics: DiagnosticsCollector, client: FakeClient
) -> None:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(2)}
    observed = observed_state(MODEL, pods=(stuck(conditions=[scheduled]),))
    assert await diagnostics.get(MODEL, observed) == {}
    assert client.requests == []
    assert diagnostics.due(MODEL, observed) == pytest.approx(3)
    assert await diagnostics.get(MODEL, at(observed, 3)) == {"uid-pod-a": MOUNT}


async def test_an_answer_is_cached_for_a_few_seconds(diagnostics: DiagnosticsCollector, client: FakeClient) -> None:
    observed = observed_state(MODEL, pods=(stuck(),))
    for _ in range(3):
        assert await diagnostics.get(MODEL, observed) == {"uid-pod-a": MOUNT}
    assert len(client.requests) == 1
    assert diagnostics.due(MODEL, observed) == pytest.approx(5, abs=1)


async def test_a_pod_that_is_stuck_for_long_is_looked_up_less_often(diagnostics: DiagnosticsCollector) -> None:
    observed = at(observed_state(MODEL, pods=(stuck(),)), 300)
    await diagnostics.get(MODEL, observed)
    assert diagnostics.due(MODEL, observed) == pytest.approx(30, abs=1)


async def test_uninformative_events_are_ignored(diagnostics: DiagnosticsCollector, client: FakeClient) -> None:
    client.events = [MOUNT, Evidence("FailedScheduling", "0/1 nodes are available")]
    assert await diagnostics.get(MODEL, observed_state(MODEL, pods=(stuck(),))) == {"uid-pod-a": MOUNT}


async def test_the_log_of_a_server_that_does_not_become_ready_is_looked_up(
    diagnostics: DiagnosticsCollector, client: FakeClient
) -> None:
    assert await diagnostics.get(MODEL, observed_state(MODEL, pods=(unready(29),))) == {}
    observed = observed_state(MODEL, pods=(unready(30),))
    assert await diagnostics.get(MODEL, observed) == {"uid-pod-a": Evidence(LOG, "never ready")}
    assert client.requests == ["log of pod-a server"]


async def test_a_log_is_read_again_at_the_download_timeout_and_then_rarely(
    diagnostics: DiagnosticsCollector, client: FakeClient
) -> None:
    observed = observed_state(MODEL, pods=(unready(30),))
    await diagnostics.get(MODEL, observed)
    assert diagnostics.due(MODEL, observed) == pytest.approx(90)
    client.line = "the store does not answer"
    assert await diagnostics.get(MODEL, at(observed, 90)) == {"uid-pod-a": Evidence(LOG, "the store does not answer")}
    assert len(client.requests) == 2
    assert diagnostics.due(MODEL, at(observed, 90)) == pytest.approx(300, abs=1)


async def test_the_events_of_a_job_without_a_pod_are_looked_up(
    diagnostics: DiagnosticsCollector, client: FakeClient
) -> None:
    client.events = [Evidence("FailedCreate", "exceeded quota")]
    found = await diagnostics.get(MODEL, observed_state(MODEL, (JOB, job(REVISION))))
    assert found == {f"uid-job-{REVISION}": client.events[0]}


async def test_a_rejection_is_looked_up_again_when_the_deployment_changes(
    diagnostics: DiagnosticsCollector, client: FakeClient
) -> None:
    client.events = [Evidence("FailedCreate", "exceeded quota")]
    observed = observed_state(MODEL, (DEPLOYMENT, rejected_deployment(REVISION, resourceVersion="10")))
    assert await diagnostics.get(MODEL, observed) == {}
    assert client.requests == ["replicasets with keras-operator.dev/model=digits,app.kubernetes.io/component=server"]
    client.replica_sets = [replica_set(1, REVISION)]
    observed = observed_state(MODEL, (DEPLOYMENT, rejected_deployment(REVISION, resourceVersion="11")))
    assert await diagnostics.get(MODEL, observed) == {REJECTED_UID: client.events[0]}
    assert client.requests[2:] == ["events of uid-digits-1"]
    assert await diagnostics.get(MODEL, observed) == {REJECTED_UID: client.events[0]}
    assert len(client.requests) == 3
    assert diagnostics.due(MODEL, observed) == pytest.approx(5, abs=1)
    healthy = {**rejected_deployment(REVISION), "status": deployment_status()}
    assert await diagnostics.get(MODEL, observed_state(MODEL, (DEPLOYMENT, healthy))) == {}


async def test_an_unavailable_api_server_yields_no_evidence(
    diagnostics: DiagnosticsCollector, client: FakeClient
) -> None:
    client.down = True
    assert await diagnostics.get(MODEL, observed_state(MODEL, pods=(stuck(),))) == {}


@pytest.mark.parametrize("after", ["the model is forgotten", "the pod makes progress"])
async def test_evidence_is_forgotten_once_it_is_outdated(
    diagnostics: DiagnosticsCollector, client: FakeClient, after: str
) -> None:
    observed = observed_state(MODEL, pods=(stuck(),))
    await diagnostics.get(MODEL, observed)
    if after == "the model is forgotten":
        diagnostics.forget(KEY)
    else:
        running = [{"name": "theirs", "state": {"running": {"startedAt": ago(1)}}}]
        await diagnostics.get(MODEL, observed_state(MODEL, pods=(stuck(initContainerStatuses=running),)))
    await diagnostics.get(MODEL, observed)
    assert len(client.requests) == 2
