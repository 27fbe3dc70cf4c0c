"""Parsing a KerasModel: absent fields get their defaults, and an error names the invalid field."""

from typing import Any

import pytest

from keras_api.resource import KerasModelStatus, SpecError, parse_model


def body(status: Any = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "keras-operator.dev/v1alpha1",
        "kind": "KerasModel",
        "metadata": {"name": "digits", "namespace": "team", "managedFields": []},
        "spec": {"source": {"uri": "s3://models/digits.keras"}, **spec},
        "status": status,
    }


def test_absent_fields_have_the_documented_defaults():
    spec = parse_model(body()).spec
    assert spec.source.poll_interval == "5m"
    assert spec.serving.runtime == "auto"
    assert spec.serving.replicas is None
    assert spec.monitoring.service_monitor.enabled
    assert not spec.suspend


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": {}}, "uri"),
        ({"source": {"uri": "s3://a/b.keras", "digest": "md5:1"}}, r"\$\.spec\.source\.digest"),
        ({"source": {"uri": "s3://a/b.keras", "pollInterval": "soon"}}, r"\$\.spec\.source\.pollInterval"),
        ({"serving": {"replicas": -1}}, r"\$\.spec\.serving\.replicas"),
        ({"serving": {"runtime": "openvino"}}, "openvino"),
        ({"training": {}}, "training"),
        ({"validation": {"data": "https://h/x.csv", "require": [{"metric": "beauty"}]}}, "beauty"),
    ],
)
def test_the_error_names_the_invalid_field(changes: dict[str, Any], field: str):
    with pytest.raises(SpecError, match=field):
        parse_model(body(**changes))


def test_unknown_fields_of_a_status_are_ignored():
    status = parse_model(body(status={"url": "http://x", "mood": "good"})).status
    assert status.url == "http://x"


def test_an_invalid_status_is_replaced_by_an_empty_one():
    assert parse_model(body(status={"replicas": "many"})).status == KerasModelStatus()
