"""Drift detection: which differences count as a change."""

from __future__ import annotations

from typing import Any

import pytest
from operator_makers import ago

from keras_operator.kube.drift import annotated, contains, managed_fields_hash


@pytest.mark.parametrize(
    ("live", "rendered", "same"),
    [
        ({"a": 1, "theirs": 2}, {"a": 1}, True),
        ({"a": 2}, {"a": 1}, False),
        ({}, {"a": 1}, False),
        ({"cpu": "1"}, {"cpu": "1000m"}, True),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ({"cpu": "1"}, {"cpu": "2"}, False),
        ({"selector": {"a": "b", "x": "y"}}, {"selector": {"a": "b"}}, False),
        ({"list": [{"name": "a", "theirs": 1}]}, {"list": [{"name": "a"}]}, True),
        ({"list": [{"name": "a"}, {"name": "b"}]}, {"list": [{"name": "a"}]}, False),
        ({}, {"empty": {}}, True),
        ({}, {"empty": []}, True),
        ({"flag": False}, {"flag": True}, False),
    ],
)
def test_a_live_object_contains_the_rendered_one(live: Any, rendered: Any, same: bool) -> None:
    assert contains(live, rendered) is same


def _fields(manager: str = "keras-operator", operation: str = "Apply", **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "time": ago(0), "fieldsV1": {"f:spec": {}}, **more}


def _hash(*entries: dict[str, Any]) -> str | None:
    return managed_fields_hash({"metadata": {"managedFields": list(entries)}})


@pytest.mark.parametrize(
    ("entries", "same"),
    [
        ([_fields(), _fields("kubectl", "Update")], True),
        ([_fields(), _fields(operation="Update", subresource="status")], True),
        ([_fields(), _fields(operation="Update", fieldsV1={})], True),
        ([_fields(fieldsV1={})], False),
        ([_fields(time=ago(1))], False),
        ([], False),
    ],
    ids=[
        "fields of another manager",
        "a status write of the operator",
        "a list that the operator replaced",
        "a field that another manager took over",
        "a later apply",
        "no managedFields",
    ],
)
def test_the_hash_changes_only_with_the_operators_own_fields(entries: list[dict[str, Any]], same: bool) -> None:
    assert (_hash(*entries) == _hash(_fields())) is same


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    _, one = annotated({"metadata": {"name": "a", "labels": {"x": "1", "y": "2"}}})
    _, other = annotated({"metadata": {"labels": {"y": "2", "x": "1"}, "name": "a"}})
    assert one == other
