"""The revision changes with the inputs of the prepare step, and with nothing else."""

from copy import deepcopy
from typing import Any

import pytest

from keras_api.resource import parse_model
from keras_api.revision import REVISION_LENGTH, revision_of

SPEC: dict[str, Any] = {
    "source": {"uri": "s3://models/digits.keras", "pollInterval": "5m"},
    "validation": {"data": "https://host/rows.csv", "require": [{"metric": "accuracy", "min": "0.95"}]},
    "serving": {"runtime": "auto", "replicas": 1},
}
PINNED = {"digest": "sha256:" + "a" * 64}


def revision(fingerprint: str = "etag", **changes: Any) -> str:
    spec = deepcopy(SPEC)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return revision_of(parse_model({"metadata": {"name": "digits"}, "spec": spec}).spec, fingerprint)


def test_a_revision_is_valid_in_names():
    assert len(revision()) == REVISION_LENGTH
    assert set(revision()) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "changes",
    [
        {"source__pollInterval": "1h"},
        {"source__secretRef": {"name": "reader"}},
        {"serving__replicas": 7},
        {"serving__resources": {"limits": {"memory": "2Gi"}}},
        {"serving__podTemplate": {"metadata": {"labels": {"team": "a"}}}},
        {"monitoring": {"serviceMonitor": {"enabled": False}}},
        {"suspend": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_fields_that_prepare_does_not_read_keep_the_revision(changes: dict[str, Any]):
    assert revision(**changes) == revision()


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "another"},
        {"source__uri": "s3://models/letters.keras"},
        {"source__s3": {"endpoint": "http://elsewhere:9000"}},
        {"source__digest": PINNED["digest"]},
        {"serving__runtime": "tensorflow"},
        {"validation": None},
        {"validation__label": "digit"},
        {"validation__data": "https://host/more.csv"},
        {"validation__require": [{"metric": "accuracy", "min": "0.96"}]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_fields_that_prepare_reads_change_the_revision(changes: dict[str, Any]):
    assert revision(**changes) != revision()


def test_a_pinned_digest_has_the_same_revision_at_any_address():
    here = revision(PINNED["digest"], source__digest=PINNED["digest"])
    there = revision(PINNED["digest"], source__digest=PINNED["digest"], source__uri="https://host/copy.keras")
    assert here == there


def test_absent_fields_and_explicit_defaults_have_the_same_revision():
    assert revision(validation__label="label") == revision()
