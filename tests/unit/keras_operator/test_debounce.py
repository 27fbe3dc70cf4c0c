"""Status debounce: which status is delayed, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from operator_makers import CONFIG, NOW, SETTINGS, ago, deployment_status, live, model, observed_state, pod, summary

from keras_api.reasons import ConditionType
from keras_operator.components.deployment import deployment
from keras_operator.decide.debounce import FIRST_ANSWER_SECONDS, FIRST_PODS_SECONDS, debounce_seconds
from keras_operator.decide.plan import decide
from keras_operator.decide.status import summarize
from keras_operator.kube.evidence import Evidence
from keras_operator.kube.kinds import DEPLOYMENT, Object
from keras_operator.state.source_resolution import SourceResolution

REVISION = observed_state(model()).revision
PREPARED: Object = {"preparedRevision": REVISION, "model": msgspec.to_builtins(summary())}
NO_POD_YET = deployment_status(0, 0, conditions=[])


def ready(status: str, reason: str) -> Object:
    condition = {"type": ConditionType.READY, "status": status, "reason": reason, "message": ""}
    return {**PREPARED, "conditions": [{**condition, "observedGeneration": 1, "lastTransitionTime": ago(30)}]}


PREPARING = ready("False", "Preparing")


def delay(
    before: Object | None,
    *,
    age: float = 1,
    status: Object = NO_POD_YET,
    replicas: int = 1,
    pods: tuple[Object, ...] = (),
    evidence: Evidence | None = None,
) -> float | None:
    """Seconds by which the status of a model is delayed whose Deployment has the given age."""
    subject = model(before, serving={"replicas": replicas})
    rendered = deployment(subject, REVISION, summary(), SETTINGS)
    child = live(DEPLOYMENT, rendered, status, creationTimestamp=ago(age))
    evidence = {child["metadata"]["uid"]: evidence} if evidence else None
    observed = observed_state(subject, (DEPLOYMENT, child), pods=pods, evidence=evidence)
    return debounce_seconds(
        subject, observed, summarize(subject, observed, decide(subject, observed, CONFIG), {}, CONFIG)
    )


def test_the_status_of_a_new_deployment_waits_for_its_pods() -> None:
    assert delay(PREPARING) == FIRST_PODS_SECONDS - 1
    assert delay(PREPARING, status={}) == FIRST_PODS_SECONDS - 1
    assert delay(PREPARED) == FIRST_PODS_SECONDS - 1  # the first status of a model whose bundle was in the store


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param({"before": PREPARING, "age": FIRST_PODS_SECONDS}, id="the time is over"),
        pytest.param({"before": PREPARING, "age": -1}, id="the clocks differ"),
        pytest.param({"before": PREPARING, "status": deployment_status(1, 0)}, id="a pod exists"),
        pytest.param({"before": PREPARING, "replicas": 0}, id="no replica is desired"),
        pytest.param({"before": ready("True", "Serving")}, id="Ready was True"),
        pytest.param(
            {"before": PREPARING, "evidence": Evidence("FailedCreate", "exceeded quota")}, id="pods are rejected"
        ),
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
            id="a pod fails",
        ),
    ],
)
def test_a_status_with_new_information_is_written_at_once(situation: dict[str, Any]) -> None:
    assert delay(**situation) is None


def test_the_first_status_waits_for_the_answer_of_the_source() -> None:
    def first_delay(asked_ago: float | None, before: Object | None = None) -> float | None:
        subject = model(before)
        asked = None if asked_ago is None else NOW - timedelta(seconds=asked_ago)
        observed = observed_state(subject, resolution=replace(SourceResolution(), asked=asked))
        return debounce_seconds(
            subject, observed, summarize(subject, observed, decide(subject, observed, CONFIG), {}, CONFIG)
        )

    assert first_delay(1) == FIRST_ANSWER_SECONDS - 1
    assert first_delay(FIRST_ANSWER_SECONDS) is None
    assert first_delay(None) is None
    assert first_delay(1, PREPARING) is None
