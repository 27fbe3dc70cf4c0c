"""What the API server refuses at once, in the words of the CustomResourceDefinition."""

from __future__ import annotations

from typing import Any

import pytest
from kube import Kube, KubeError, Object

URI = "s3://models/digits.keras"
DATA = "s3://models/digits.csv"


def _source(uri: str = URI, **more: Any) -> Object:
    return {"source": {"uri": uri, **more}}


def _validation(*require: Object, data: str = DATA) -> Object:
    return {**_source(), "validation": {"data": data, "require": list(require)}}


VALID: dict[str, Object] = {
    "s3": _source(s3={"endpoint": "http://minio.storage.svc:9000"}),
    "https": _source("https://example.org/models/digits.h5?version=3"),
    "http": _source("http://10.0.0.1:9000/digits.hdf5"),
    "a claim": _source("pvc://models/a/b.keras"),
    "never polled": _source(pollInterval="0s"),
    "pinned": _source(digest="sha256:" + "0" * 64),
    "validated": _validation({"metric": "accuracy", "min": "0.95"}),
    "bounded on both sides": _validation({"metric": "mean_squared_error", "min": "0", "max": "1e-1"}),
    "resources": {**_source(), "serving": {"resources": {"requests": {"cpu": 1, "memory": "1Gi"}}}},
    "a pod template": {**_source(), "serving": {"podTemplate": {"spec": {"nodeSelector": {"disk": "ssd"}}}}},
}

INVALID: dict[str, tuple[Object, str]] = {
    "no source": ({}, "spec.source: Required value"),
    "no path": (_source("s3://models"), "must be s3://bucket/key"),
    "a scheme that is not known": (_source("ftp://host/digits.keras"), "must be s3://bucket/key"),
    "a file of this machine": (_source("file:///etc/digits.keras"), "must be s3://bucket/key"),
    "a blank": (_source("s3://models/my model.keras"), "must be s3://bucket/key"),
    "a way out": (_source("pvc://claim/../other/digits.keras"), "must not contain . or .."),
    "another format": (_source("s3://models/digits.pb"), "must end in .keras, .h5 or .hdf5"),
    "s3 options for https": (_source("https://h/d.keras", s3={"region": "eu"}), "s3 options need an s3:// uri"),
    "an endpoint with a path": (_source(s3={"endpoint": "http://h/path"}), "spec.source.s3.endpoint"),
    "a short digest": (_source(digest="sha256:abc"), "spec.source.digest"),
    "polled too often": (_source(pollInterval="1s"), "must be 0s (never) or at least 10s"),
    "an interval in words": (_source(pollInterval="often"), "spec.source.pollInterval"),
    "data that is not CSV": (_validation(data="s3://models/digits.json"), "of a .csv file"),
    "data on a way out": (_validation(data="pvc://claim/../x.csv"), "must not contain . or .."),
    "a bound without a value": (_validation({"metric": "accuracy"}), "give min, max or both"),
    "bounds the wrong way round": (
        _validation({"metric": "accuracy", "min": "0.9", "max": "0.1"}),
        "min must not be above max",
    ),
    "a metric twice": (
        _validation({"metric": "accuracy", "min": "0.9"}, {"metric": "accuracy", "min": "0.8"}),
        "Duplicate value",
    ),
    "a metric that is not known": (_validation({"metric": "beauty", "min": "1"}), "Unsupported value"),
    "a runtime that is not known": ({**_source(), "serving": {"runtime": "pytorch"}}, "Unsupported value"),
    "too few replicas": ({**_source(), "serving": {"replicas": -1}}, "greater than or equal to 0"),
    "a negative quantity": (
        {**_source(), "serving": {"resources": {"limits": {"memory": "-1Gi"}}}},
        "spec.serving.resources.limits.memory",
    ),
}


def _model(spec: Object, namespace: str, name: str = "digits") -> Object:
    return {
        "apiVersion": "keras-operator.dev/v1alpha1",
        "kind": "KerasModel",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


@pytest.mark.parametrize("spec", VALID.values(), ids=VALID)
def test_a_sensible_spec_is_admitted(kube: Kube, namespace: str, spec: Object) -> None:
    kube.create(_model(spec, namespace))


@pytest.mark.parametrize(("spec", "message"), INVALID.values(), ids=INVALID)
def test_a_spec_that_cannot_work_is_refused_with_the_remedy(
    kube: Kube, namespace: str, spec: Object, message: str
) -> None:
    with pytest.raises(KubeError) as refusal:
        kube.create(_model(spec, namespace))
    assert refusal.value.status == 422
    assert message in refusal.value.message


@pytest.mark.parametrize("name", ["0digits", "digits.v2", "d" * 41])
def test_a_name_that_cannot_name_a_service_is_refused(kube: Kube, namespace: str, name: str) -> None:
    with pytest.raises(KubeError, match=r"metadata\.name must be at most 40"):
        kube.create(_model(_source(), namespace, name))


def test_defaults_are_filled_in(kube: Kube, namespace: str) -> None:
    spec = kube.create(_model({**_source(), "serving": {}}, namespace))["spec"]
    assert spec["source"]["pollInterval"] == "5m"
    assert spec["serving"]["runtime"] == "auto"
