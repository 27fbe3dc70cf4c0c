"""What is looked up about objects that hang, when, and how often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest
from operator_makers import (
    KEY,
    NOW,
    REFUSED_UID,
    ago,
    deployment_status,
    job,
    model,
    pod,
    refused_deployment,
    replica_set,
    scene,
)

from keras_operator.kube.client import KubeClient
from keras_operator.kube.errors import UnavailableError
from keras_operator.kube.evidence import LOG, Evidence
from keras_operator.kube.kinds import DEPLOYMENT, JOB, Kind, Object
from keras_operator.lookups.diagnostics import DiagnosticsCollector
from keras_operator.state.observed import Observed
from keras_operator.tasks import TASKS

MODEL = model()
REVISION = scene(MODEL).revision
MOUNT = Evidence("FailedMount", 'secret "x" not found')


@dataclass
class Answers:
    """Stands in for the API server, and remembers what it was asked."""

    events: list[Evidence] = field(default_factory=lambda: [MOUNT])
    line: str = "never ready"
    replica_sets: list[Object] = field(default_factory=list)
    down: bool = False
    asked: list[str] = field(default_factory=list)

    async def warnings(self, namespace: str, uid: str) -> list[Evidence]:
        self.asked.append(f"events of {uid}")
        if self.down:
            raise UnavailableError("away")
        return self.events

    async def last_log_line(self, namespace: str, name: str, container: str) -> str:
        self.asked.append(f"log of {name} {container}")
        return self.line

    async def pages(self, kind: Kind, namespace: str, selector: str) -> AsyncIterator[tuple[list[Object], int]]:
        self.asked.append(f"{kind.plural} with {selector}")
        yield self.replica_sets, 1


@pytest.fixture
def api() -> Answers:
    return Answers()


@pytest.fixture
def diagnostics(api: Answers) -> DiagnosticsCollector:
    return DiagnosticsCollector(cast(KubeClient, api), TASKS)


def hanging(**status: Any) -> Object:
    return pod("server", REVISION, **status)  # made 30 seconds ago


def unready(seconds: float) -> Object:
    started = {"name": "server", "ready": False, "state": {"running": {"startedAt": ago(seconds)}}}
    return hanging(phase="Running", containerStatuses=[started])


def at(observed: Observed, seconds: float) -> Observed:
    return replace(observed, now=NOW + timedelta(seconds=seconds))


async def test_a_pod_that_hangs_is_asked_about_by_its_events(diagnostics: DiagnosticsCollector, api: Answers) -> None:
    assert await diagnostics.get(MODEL, scene(MODEL, pods=(hanging(),))) == {"uid-pod-a": MOUNT}
    assert api.asked == ["events of uid-pod-a"]


async def test_a_pod_is_not_asked_about_before_its_time_but_as_soon_as_that_comes(
    diagnostics: DiagnosticsCollector, api: Answers
) -> None:
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(2)}
    observed = scene(MODEL, pods=(hanging(conditions=[placed]),))
    assert await diagnostics.get(MODEL, observed) == {}
    assert api.asked == []
    assert diagnostics.due(MODEL, observed) == pytest.approx(3)
    assert await diagnostics.get(MODEL, at(observed, 3)) == {"uid-pod-a": MOUNT}


async def test_an_answer_is_remembered_for_a_few_seconds(diagnostics: DiagnosticsCollector, api: Answers) -> None:
    observed = scene(MODEL, pods=(hanging(),))
    for _ in range(3):
        assert await diagnostics.get(MODEL, observed) == {"uid-pod-a": MOUNT}
    assert len(api.asked) == 1
    assert diagnostics.due(MODEL, observed) == pytest.approx(5, abs=1)


async def test_what_hangs_for_long_is_asked_about_less_often(diagnostics: DiagnosticsCollector) -> None:
    observed = at(scene(MODEL, pods=(hanging(),)), 300)
    await diagnostics.get(MODEL, observed)
    assert diagnostics.due(MODEL, observed) == pytest.approx(30, abs=1)


async def test_events_without_news_are_passed_over(diagnostics: DiagnosticsCollector, api: Answers) -> None:
    api.events = [MOUNT, Evidence("FailedScheduling", "0/1 nodes are available")]
    assert await diagnostics.get(MODEL, scene(MODEL, pods=(hanging(),))) == {"uid-pod-a": MOUNT}


async def test_a_server_that_does_not_turn_ready_is_asked_for_its_log(
    diagnostics: DiagnosticsCollector, api: Answers
) -> None:
    assert await diagnostics.get(MODEL, scene(MODEL, pods=(unready(29),))) == {}
    observed = scene(MODEL, pods=(unready(30),))
    assert await diagnostics.get(MODEL, observed) == {"uid-pod-a": Evidence(LOG, "never ready")}
    assert api.asked == ["log of pod-a server"]


async def test_a_log_is_asked_for_again_when_a_download_would_be_overdue_and_then_rarely(
    diagnostics: DiagnosticsCollector, api: Answers
) -> None:
    observed = scene(MODEL, pods=(unready(30),))
    await diagnostics.get(MODEL, observed)
    assert diagnostics.due(MODEL, observed) == pytest.approx(90)
    api.line = "the store is silent"
    assert await diagnostics.get(MODEL, at(observed, 90)) == {"uid-pod-a": Evidence(LOG, "the store is silent")}
    assert len(api.asked) == 2
    assert diagnostics.due(MODEL, at(observed, 90)) == pytest.approx(300, abs=1)


async def test_a_job_without_a_pod_is_asked_about(diagnostics: DiagnosticsCollector, api: Answers) -> None:
    api.events = [Evidence("FailedCreate", "exceeded quota")]
    found = await diagnostics.get(MODEL, scene(MODEL, (JOB, job(REVISION))))
    assert found == {f"uid-job-{REVISION}": api.events[0]}


async def test_refused_pods_are_asked_about_whenever_their_deployment_says_something_else(
    diagnostics: DiagnosticsCollector, api: Answers
) -> None:
    api.events = [Evidence("FailedCreate", "exceeded quota")]
    observed = scene(MODEL, (DEPLOYMENT, refused_deployment(REVISION, resourceVersion="10")))
    assert await diagnostics.get(MODEL, observed) == {}
    assert api.asked == ["replicasets with keras-operator.dev/model=digits,app.kubernetes.io/component=server"]
    api.replica_sets = [replica_set(1, REVISION)]
    observed = scene(MODEL, (DEPLOYMENT, refused_deployment(REVISION, resourceVersion="11")))
    assert await diagnostics.get(MODEL, observed) == {REFUSED_UID: api.events[0]}
    assert api.asked[2:] == ["events of uid-digits-1"]
    assert await diagnostics.get(MODEL, observed) == {REFUSED_UID: api.events[0]}
    assert len(api.asked) == 3
    assert diagnostics.due(MODEL, observed) == pytest.approx(5, abs=1)
    well = {**refused_deployment(REVISION), "status": deployment_status()}
    assert await diagnostics.get(MODEL, scene(MODEL, (DEPLOYMENT, well))) == {}


async def test_an_api_server_that_is_away_leaves_the_status_as_it_is(
    diagnostics: DiagnosticsCollector, api: Answers
) -> None:
    api.down = True
    assert await diagnostics.get(MODEL, scene(MODEL, pods=(hanging(),))) == {}


@pytest.mark.parametrize("after", ["forgotten", "at work"])
async def test_what_was_found_is_forgotten_with_its_object(
    diagnostics: DiagnosticsCollector, api: Answers, after: str
) -> None:
    observed = scene(MODEL, pods=(hanging(),))
    await diagnostics.get(MODEL, observed)
    if after == "forgotten":
        diagnostics.forget(KEY)
    else:
        at_work = [{"name": "theirs", "state": {"running": {"startedAt": ago(1)}}}]
        await diagnostics.get(MODEL, scene(MODEL, pods=(hanging(initContainerStatuses=at_work),)))
    await diagnostics.get(MODEL, observed)
    assert len(api.asked) == 2
