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

from keras_operator.api import Api, UnavailableError
from keras_operator.inquiry import Inquiry
from keras_operator.kinds import DEPLOYMENT, JOB, Kind, Object
from keras_operator.observe import Observed
from keras_operator.status.pods import LOG, Clue

MODEL = model()
REVISION = scene(MODEL).revision
MOUNT = Clue("FailedMount", 'secret "x" not found')


@dataclass
class Answers:
    """Stands in for the API server, and remembers what it was asked."""

    events: list[Clue] = field(default_factory=lambda: [MOUNT])
    line: str = "never ready"
    replica_sets: list[Object] = field(default_factory=list)
    down: bool = False
    asked: list[str] = field(default_factory=list)

    async def warnings(self, namespace: str, uid: str) -> list[Clue]:
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
def inquiry(api: Answers) -> Inquiry:
    return Inquiry(cast(Api, api))


def hanging(**status: Any) -> Object:
    return pod("server", REVISION, **status)  # made 30 seconds ago


def unready(seconds: float) -> Object:
    started = {"name": "server", "ready": False, "state": {"running": {"startedAt": ago(seconds)}}}
    return hanging(phase="Running", containerStatuses=[started])


def at(seen: Observed, seconds: float) -> Observed:
    return replace(seen, now=NOW + timedelta(seconds=seconds))


async def test_a_pod_that_hangs_is_asked_about_by_its_events(inquiry: Inquiry, api: Answers) -> None:
    assert await inquiry.clues(MODEL, scene(MODEL, pods=(hanging(),))) == {"uid-pod-a": MOUNT}
    assert api.asked == ["events of uid-pod-a"]


async def test_a_pod_is_not_asked_about_before_its_time_but_as_soon_as_that_comes(
    inquiry: Inquiry, api: Answers
) -> None:
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(2)}
    seen = scene(MODEL, pods=(hanging(conditions=[placed]),))
    assert await inquiry.clues(MODEL, seen) == {}
    assert api.asked == []
    assert inquiry.due(MODEL, seen) == pytest.approx(3)
    assert await inquiry.clues(MODEL, at(seen, 3)) == {"uid-pod-a": MOUNT}


async def test_an_answer_is_remembered_for_a_few_seconds(inquiry: Inquiry, api: Answers) -> None:
    seen = scene(MODEL, pods=(hanging(),))
    for _ in range(3):
        assert await inquiry.clues(MODEL, seen) == {"uid-pod-a": MOUNT}
    assert len(api.asked) == 1
    assert inquiry.due(MODEL, seen) == pytest.approx(5, abs=1)


async def test_what_hangs_for_long_is_asked_about_less_often(inquiry: Inquiry) -> None:
    seen = at(scene(MODEL, pods=(hanging(),)), 300)
    await inquiry.clues(MODEL, seen)
    assert inquiry.due(MODEL, seen) == pytest.approx(30, abs=1)


async def test_events_without_news_are_passed_over(inquiry: Inquiry, api: Answers) -> None:
    api.events = [MOUNT, Clue("FailedScheduling", "0/1 nodes are available")]
    assert await inquiry.clues(MODEL, scene(MODEL, pods=(hanging(),))) == {"uid-pod-a": MOUNT}


async def test_a_server_that_does_not_turn_ready_is_asked_for_its_log(inquiry: Inquiry, api: Answers) -> None:
    assert await inquiry.clues(MODEL, scene(MODEL, pods=(unready(29),))) == {}
    seen = scene(MODEL, pods=(unready(30),))
    assert await inquiry.clues(MODEL, seen) == {"uid-pod-a": Clue(LOG, "never ready")}
    assert api.asked == ["log of pod-a server"]


async def test_a_log_is_asked_for_again_when_a_download_would_be_overdue_and_then_rarely(
    inquiry: Inquiry, api: Answers
) -> None:
    seen = scene(MODEL, pods=(unready(30),))
    await inquiry.clues(MODEL, seen)
    assert inquiry.due(MODEL, seen) == pytest.approx(90)
    api.line = "the store is silent"
    assert await inquiry.clues(MODEL, at(seen, 90)) == {"uid-pod-a": Clue(LOG, "the store is silent")}
    assert len(api.asked) == 2
    assert inquiry.due(MODEL, at(seen, 90)) == pytest.approx(300, abs=1)


async def test_a_job_without_a_pod_is_asked_about(inquiry: Inquiry, api: Answers) -> None:
    api.events = [Clue("FailedCreate", "exceeded quota")]
    found = await inquiry.clues(MODEL, scene(MODEL, (JOB, job(REVISION))))
    assert found == {f"uid-job-{REVISION}": api.events[0]}


async def test_refused_pods_are_asked_about_whenever_their_deployment_says_something_else(
    inquiry: Inquiry, api: Answers
) -> None:
    api.events = [Clue("FailedCreate", "exceeded quota")]
    seen = scene(MODEL, (DEPLOYMENT, refused_deployment(REVISION, resourceVersion="10")))
    assert await inquiry.clues(MODEL, seen) == {}
    assert api.asked == ["replicasets with keras-operator.dev/model=digits,app.kubernetes.io/component=server"]
    api.replica_sets = [replica_set(1, REVISION)]
    seen = scene(MODEL, (DEPLOYMENT, refused_deployment(REVISION, resourceVersion="11")))
    assert await inquiry.clues(MODEL, seen) == {REFUSED_UID: api.events[0]}
    assert api.asked[2:] == ["events of uid-digits-1"]
    assert await inquiry.clues(MODEL, seen) == {REFUSED_UID: api.events[0]}
    assert len(api.asked) == 3
    assert inquiry.due(MODEL, seen) == pytest.approx(5, abs=1)
    well = {**refused_deployment(REVISION), "status": deployment_status()}
    assert await inquiry.clues(MODEL, scene(MODEL, (DEPLOYMENT, well))) == {}


async def test_an_api_server_that_is_away_leaves_the_status_as_it_is(inquiry: Inquiry, api: Answers) -> None:
    api.down = True
    assert await inquiry.clues(MODEL, scene(MODEL, pods=(hanging(),))) == {}


@pytest.mark.parametrize("after", ["forgotten", "at work"])
async def test_what_was_found_is_forgotten_with_its_object(inquiry: Inquiry, api: Answers, after: str) -> None:
    seen = scene(MODEL, pods=(hanging(),))
    await inquiry.clues(MODEL, seen)
    if after == "forgotten":
        inquiry.forget(KEY)
    else:
        at_work = [{"name": "theirs", "state": {"running": {"startedAt": ago(1)}}}]
        await inquiry.clues(MODEL, scene(MODEL, pods=(hanging(initContainerStatuses=at_work),)))
    await inquiry.clues(MODEL, seen)
    assert len(api.asked) == 2
