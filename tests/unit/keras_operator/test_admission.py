"""The rejection to report while a Deployment's condition says that pods are not admitted."""

from __future__ import annotations

import pytest
from operator_makers import NOW, ago, deployment_status, model, observed_state, rejected_deployment, replica_set

from keras_operator.cache.objects import Child
from keras_operator.diagnosis.admission import (
    admission_failed_at,
    latest_rejection,
    present_template,
    rejected_replica_set,
)
from keras_operator.kube.evidence import Evidence
from keras_operator.kube.kinds import DEPLOYMENT, Object
from keras_operator.kube.times import later

MODEL = model()
REVISION = observed_state(MODEL).revision


def child(obj: Object) -> Child:
    found = observed_state(MODEL, (DEPLOYMENT, obj)).deployment(MODEL)
    assert found is not None
    return found


def rejection_of(*replica_sets: Object) -> str | None:
    found = rejected_replica_set(present_template(child(rejected_deployment(REVISION))), replica_sets)
    return found and str(found["metadata"]["name"])


def test_a_rejection_is_looked_up_once_the_deployment_status_is_current() -> None:
    assert admission_failed_at(child(rejected_deployment(REVISION))) == later(NOW, -30)
    assert admission_failed_at(child(rejected_deployment(REVISION, generation=2))) is None
    assert admission_failed_at(child(rejected_deployment(REVISION, deletionTimestamp=ago(1)))) is None
    assert admission_failed_at(child({**rejected_deployment(REVISION), "status": deployment_status()})) is None


def test_only_a_rejection_of_the_present_template_counts() -> None:
    assert rejection_of(replica_set(9, "before"), replica_set(10, REVISION)) == "digits-10"
    assert rejection_of(replica_set(9, "before"), replica_set(10, REVISION, rejected=False)) is None
    assert rejection_of(replica_set(9, "before")) is None
    assert rejection_of(replica_set(9, REVISION), replica_set(10, REVISION, owner="another")) == "digits-9"
    assert rejection_of() is None


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "an earlier rejection"),
        ([Evidence("FailedDelete", "no")], "an earlier rejection"),
        (
            [
                Evidence("FailedCreate", "the previous one"),
                Evidence("FailedCreate", "the latest one"),
                Evidence("FailedDelete", "no"),
            ],
            "the latest one",
        ),
    ],
)
def test_the_latest_rejection_is_reported(events: list[Evidence], message: str) -> None:
    assert latest_rejection(replica_set(1, REVISION), events) == Evidence("FailedCreate", message)
