"""When a status is held back, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from operator_makers import NOW, SETTINGS, ago, deployment_status, live, model, pod, scene, summary

from keras_api.reasons import ConditionType
from keras_operator.decide import decide
from keras_operator.kinds import DEPLOYMENT, Object
from keras_operator.render.deployment import deployment
from keras_operator.resolution import Resolution
from keras_operator.status.holding import FIRST_PODS_SECONDS, FIRST_WORD_SECONDS, seconds_to_hold
from keras_operator.status.pods import Clue
from keras_operator.status.summary import summarize

REVISION = scene(model()).revision
PREPARED: Object = {"preparedRevision": REVISION, "model": msgspec.to_builtins(summary())}
NO_POD_YET = deployment_status(0, 0, conditions=[])


def ready(status: str, reason: str) -> Object:
    said = {"type": ConditionType.READY, "status": status, "reason": reason, "message": ""}
    return {**PREPARED, "conditions": [{**said, "observedGeneration": 1, "lastTransitionTime": ago(30)}]}


PREPARING = ready("False", "Preparing")


def hold(
    before: Object | None,
    *,
    age: float = 1,
    status: Object = NO_POD_YET,
    replicas: int = 1,
    pods: tuple[Object, ...] = (),
    clue: Clue | None = None,
) -> float | None:
    """Seconds that a model's status is held, whose Deployment has the given age."""
    subject = model(before, serving={"replicas": replicas})
    rendered = deployment(subject, REVISION, summary(), SETTINGS)
    child = live(DEPLOYMENT, rendered, status, creationTimestamp=ago(age))
    clues = {child["metadata"]["uid"]: clue} if clue else None
    seen = scene(subject, (DEPLOYMENT, child), pods=pods, clues=clues)
    return seconds_to_hold(subject, seen, summarize(subject, seen, decide(subject, seen, SETTINGS), {}))


def test_a_new_deployment_gets_a_moment_to_have_pods() -> None:
    assert hold(PREPARING) == FIRST_PODS_SECONDS - 1
    assert hold(PREPARING, status={}) == FIRST_PODS_SECONDS - 1
    assert hold(PREPARED) == FIRST_PODS_SECONDS - 1  # the first status of a model whose bundle was in the store


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param({"before": PREPARING, "age": FIRST_PODS_SECONDS}, id="the moment is over"),
        pytest.param({"before": PREPARING, "age": -1}, id="the clocks differ"),
        pytest.param({"before": PREPARING, "status": deployment_status(1, 0)}, id="there is a pod"),
        pytest.param({"before": PREPARING, "replicas": 0}, id="no pod is wanted"),
        pytest.param({"before": ready("True", "Serving")}, id="Ready was True"),
        pytest.param({"before": PREPARING, "clue": Clue("FailedCreate", "exceeded quota")}, id="pods are refused"),
        pytest.param(
            {
                "before": PREPARING,
                "pods": (
                    pod(
                        "server",
                        REVISION,
                        serving={"replicas": 1},
                        containerStatuses=[{"name": "server", "state": {"waiting": {"reason": "ImagePullBackOff"}}}],
                    ),
                ),
            },
            id="a pod is in trouble",
        ),
    ],
)
def test_what_is_news_is_said_at_once(situation: dict[str, Any]) -> None:
    assert hold(**situation) is None


def test_a_source_gets_a_moment_to_answer_before_anything_is_said() -> None:
    def hold_first(asked_ago: float | None, before: Object | None = None) -> float | None:
        subject = model(before)
        asked = None if asked_ago is None else NOW - timedelta(seconds=asked_ago)
        seen = scene(subject, resolution=replace(Resolution(), asked=asked))
        return seconds_to_hold(subject, seen, summarize(subject, seen, decide(subject, seen, SETTINGS), {}))

    assert hold_first(1) == FIRST_WORD_SECONDS - 1
    assert hold_first(FIRST_WORD_SECONDS) is None
    assert hold_first(None) is None
    assert hold_first(1, PREPARING) is None
