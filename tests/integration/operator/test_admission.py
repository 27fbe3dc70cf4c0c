"""The API server rejects invalid specs, with the messages of the CustomResourceDefinition."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kube import Kube, KubeError, Object

URI = "s3://models/digits.keras"
DATA = "s3://models/digits.csv"


def _source(uri: Any = URI, **more: Any) -> Object:
    return {"source": {"uri": uri, **more}}


def _validation(*require: Object, data: str = DATA) -> Object:
    return {**_source(), "validation": {"data": data, "require": list(require)}}


def _label(label: str) -> Object:
    return {**_source(), "validation": {"data": DATA, "label": label}}


def _accuracy(**bounds: Any) -> Object:
    return _validation({"metric": "accuracy", **bounds})


def _error(**bounds: Any) -> Object:
    return _validation({"metric": "mean_squared_error", **bounds})


def _serving(**more: Any) -> Object:
    return {**_source(), "serving": more}


def _limits(**limits: Any) -> Object:
    return _serving(resources={"limits": limits})


def _memory(memory: str) -> Object:
    return _limits(memory=memory)


def _monitor(**more: Any) -> Object:
    return {**_source(), "monitoring": {"serviceMonitor": more}}


VALID: dict[str, Object] = {
    "s3": _source(s3={"endpoint": "http://minio.storage.svc:9000"}),
    "a port": _source("http://host:65535/digits.keras"),
    "IPv6": _source("http://[::1]:9000/digits.keras"),
    "a colon in the path": _source("https://host/a:b@c/digits.keras"),
    "a year between two polls": _source(pollInterval="8760h"),
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

# Case: the spec, the field that the message names, a part of the message.
INVALID: dict[str, tuple[Object | None, str, str]] = {
    # The source
    "no spec": (None, "spec", "Required value"),
    "no source": ({}, "spec.source", "Required value"),
    "a source of null": ({"source": None}, "spec.source", "Required value"),
    "a source that is a string": ({"source": URI}, "spec.source", "must be of type object"),
    "no address": ({"source": {}}, "spec.source.uri", "Required value"),
    "an empty address": (_source(""), "spec.source.uri", "must be s3://bucket/key, https://host/path"),
    "an address that is a list": (_source([URI]), "spec.source.uri", "must be of type string"),
    "an address that is too long": (
        _source(f"s3://models/{'a' * 2048}.keras"),
        "spec.source.uri",
        "may not be more than 2048",
    ),
    "no path": (_source("s3://models"), "spec.source.uri", "must be s3://bucket/key"),
    "no host": (_source("https:///digits.keras"), "spec.source.uri", "must be s3://bucket/key"),
    "an unknown scheme": (_source("ftp://host/digits.keras"), "spec.source.uri", "must be s3://bucket/key"),
    "an upper-case scheme": (_source("S3://models/digits.keras"), "spec.source.uri", "must be s3://bucket/key"),
    "a local file": (_source("file:///etc/digits.keras"), "spec.source.uri", "must be s3://bucket/key"),
    "a space": (_source("s3://models/my model.keras"), "spec.source.uri", "must be s3://bucket/key"),
    "a relative path": (_source("pvc://claim/../other/digits.keras"), "spec.source.uri", "must not contain . or .."),
    "a password": (_source("https://jane:secret@h/d.keras"), "spec.source.uri", "must not hold credentials"),
    "a port above 65535": (_source("http://h:65536/d.keras"), "spec.source.uri", "a number from 1 to 65535"),
    "a port that is not a number": (_source("http://h:http/d.keras"), "spec.source.uri", "a number from 1 to 65535"),
    "an invalid claim name": (_source("pvc://My_Claim/d.keras"), "spec.source.uri", "must name a claim by lower-case"),
    "an unknown file format": (_source("s3://models/digits.pb"), "spec.source.uri", "must end in .keras, .h5 or .hdf5"),
    "s3 options for https": (
        _source("https://h/d.keras", s3={"region": "eu"}),
        "spec.source.s3",
        "s3 options need an s3:// uri",
    ),
    "an endpoint with a path": (_source(s3={"endpoint": "http://h/path"}), "spec.source.s3.endpoint", "without a path"),
    "an endpoint without a scheme": (
        _source(s3={"endpoint": "minio:9000"}),
        "spec.source.s3.endpoint",
        "must be the URL of a service",
    ),
    "an invalid region": (_source(s3={"region": "Europe!"}), "spec.source.s3.region", "such as us-east-1"),
    "a short digest": (_source(digest="sha256:abc"), "spec.source.digest", "must be sha256: followed by 64 lower-case"),
    "an unknown digest algorithm": (
        _source(digest=f"md5:{'0' * 32}"),
        "spec.source.digest",
        "must be sha256: followed by 64 lower-case",
    ),
    "an upper-case digest": (_source(digest=f"sha256:{'A' * 64}"), "spec.source.digest", "64 lower-case hex digits"),
    "polled too often": (_source(pollInterval="1s"), "spec.source.pollInterval", "or from 10s to 8760h"),
    "polled too rarely": (_source(pollInterval="1000000h"), "spec.source.pollInterval", "or from 10s to 8760h"),
    "an interval with too many digits": (
        _source(pollInterval=f"{'9' * 15}h"),
        "spec.source.pollInterval",
        "from 10s to 8760h",
    ),
    "a negative interval": (_source(pollInterval="-5m"), "spec.source.pollInterval", "must be a duration such as 30s"),
    "an interval that is not a duration": (
        _source(pollInterval="often"),
        "spec.source.pollInterval",
        "must be a duration such as",
    ),
    "an interval without a unit": (_source(pollInterval=300), "spec.source.pollInterval", "must be of type string"),
    "a Secret without a name": (_source(secretRef={}), "spec.source.secretRef.name", "Required value"),
    "an invalid Secret name": (
        _source(secretRef={"name": "My Secret"}),
        "spec.source.secretRef.name",
        "must be a valid object name",
    ),
    # The validation
    "data that is not CSV": (_validation(data="s3://models/digits.json"), "spec.validation.data", "of a .csv file"),
    "data at a relative path": (
        _validation(data="pvc://claim/../x.csv"),
        "spec.validation.data",
        "must not contain . or ..",
    ),
    "data with a password": (_validation(data="http://a:b@h/x.csv"), "spec.validation.data", "not hold credentials"),
    "no data": ({**_source(), "validation": {}}, "spec.validation.data", "Required value"),
    "a label without a name": (_label(""), "spec.validation.label", "at least 1 chars long"),
    "a bound without a value": (
        _validation({"metric": "accuracy"}),
        "spec.validation.require[0].metric",
        "must have min, max or both",
    ),
    "a bound without a metric": (_validation({"min": "1"}), "spec.validation.require[0].metric", "Required value"),
    "a bound that is not a number": (
        _accuracy(min="high"),
        "spec.validation.require[0].min",
        "must be a decimal number",
    ),
    "a bound that is not a string": (_accuracy(min=0.9), "spec.validation.require[0].min", "must be of type string"),
    "a bound in percent": (_accuracy(min="95"), "spec.validation.require[0].metric", 'for 95 % write "0.95"'),
    "a bound that is infinite": (_error(max="1e999"), "spec.validation.require[0].max", "must be a decimal number"),
    "a minimum above the maximum": (
        _accuracy(min="0.9", max="0.1"),
        "spec.validation.require[0].min",
        "min must not be greater than max",
    ),
    "a metric twice": (
        _validation({"metric": "accuracy", "min": "0.9"}, {"metric": "accuracy", "min": "0.8"}),
        "spec.validation.require[1]",
        "Duplicate value",
    ),
    "an unknown metric": (
        _validation({"metric": "beauty", "min": "1"}),
        "spec.validation.require[0].metric",
        'supported values: "accuracy"',
    ),
    # The serving
    "an unknown runtime": (
        _serving(runtime="pytorch"),
        "spec.serving.runtime",
        'supported values: "auto", "onnxruntime", "tensorflow"',
    ),
    "negative replicas": (_serving(replicas=-1), "spec.serving.replicas", "greater than or equal to 0"),
    "too many replicas": (_serving(replicas=10**9), "spec.serving.replicas", "less than or equal to 1000"),
    "a fraction of a replica": (_serving(replicas=1.5), "spec.serving.replicas", "must be of type integer"),
    "replicas that are not a number": (_serving(replicas="two"), "spec.serving.replicas", "must be of type integer"),
    "a negative quantity": (_memory("-1Gi"), "spec.serving.resources.limits[memory]", "a non-negative quantity"),
    "a negative number of cores": (_limits(cpu=-1), "spec.serving.resources.limits[cpu]", "a non-negative quantity"),
    "a quantity that is not a number": (
        _memory("lots"),
        "spec.serving.resources.limits[memory]",
        "such as 500m (half a core)",
    ),
    "an unknown unit": (
        _memory("2GB"),
        "spec.serving.resources.limits[memory]",
        "such as 500m (half a core) or 2Gi",
    ),
    "a pod's spec that is a list": (
        _serving(podTemplate={"spec": []}),
        "spec.serving.podTemplate.spec",
        "must be of type object",
    ),
    # Monitoring and suspend
    "an invalid interval for Prometheus": (
        _monitor(interval="1.5s"),
        "spec.monitoring.serviceMonitor.interval",
        "must be an interval in the format of Prometheus",
    ),
    "a label that is not a string": (
        _monitor(labels={"release": 1}),
        "spec.monitoring.serviceMonitor.labels.release",
        "must be of type string",
    ),
    "enabled that is not a boolean": (
        _monitor(enabled="on"),
        "spec.monitoring.serviceMonitor.enabled",
        "must be of type boolean",
    ),
    "suspend that is not a boolean": ({**_source(), "suspend": "yes"}, "spec.suspend", "must be of type boolean"),
}

UNKNOWN: dict[str, tuple[Object, str]] = {
    "at the top": ({**_source(), "replicas": 2}, "spec.replicas"),
    "in the source": (_source(url=URI), "spec.source.url"),
    "in the serving": (_serving(batchSize=10**9), "spec.serving.batchSize"),
    "in the resources": (_serving(resources={"claims": []}), "spec.serving.resources.claims"),
    "of a future release": ({**_source(), "training": {}}, "spec.training"),
}

IMMUTABLE = {
    "its name": ({"metadata": {"name": "other"}}, "the name of the object (other) does not match"),
    "its namespace": ({"metadata": {"namespace": "other"}}, "the namespace of the provided object does not match"),
    "its kind": ({"kind": "Other"}, "must be KerasModel"),
    "its uid": ({"metadata": {"uid": "other"}}, "field is immutable"),
    "no source": ({"spec": {"source": None}}, "spec.source: Required value"),
}


def _model(spec: Object | None, namespace: str, name: str = "digits") -> Object:
    return {
        "apiVersion": "keras-operator.dev/v1alpha1",
        "kind": "KerasModel",
        "metadata": {"name": name, "namespace": namespace},
        **({} if spec is None else {"spec": spec}),
    }


@pytest.mark.parametrize("spec", VALID.values(), ids=VALID)
def test_a_valid_spec_is_accepted(kube: Kube, namespace: str, spec: Object) -> None:
    kube.create(_model(spec, namespace))


@pytest.mark.parametrize(("spec", "field", "message"), INVALID.values(), ids=INVALID)
def test_an_invalid_spec_is_rejected_with_a_remedy(
    kube: Kube, namespace: str, spec: Object | None, field: str, message: str
) -> None:
    with pytest.raises(KubeError) as error:
        kube.create(_model(spec, namespace))
    assert error.value.status == 422
    rejection = json.loads(error.value.message)["message"]
    assert f"{field}: " in rejection
    assert message in rejection


@pytest.mark.parametrize(("spec", "field"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_field_is_rejected_by_its_name(kube: Kube, namespace: str, spec: Object, field: str) -> None:
    with pytest.raises(KubeError) as error:
        kube.create(_model(spec, namespace))
    assert f'unknown field "{field}"' in json.loads(error.value.message)["message"]


@pytest.mark.parametrize(("change", "message"), IMMUTABLE.values(), ids=IMMUTABLE)
def test_the_identity_of_a_model_cannot_be_changed(kube: Kube, namespace: str, change: Object, message: str) -> None:
    kube.create(_model(_source(), namespace))
    with pytest.raises(KubeError) as error:
        kube.patch("kerasmodels", namespace, "digits", change)
    assert message in json.loads(error.value.message)["message"]


@pytest.mark.parametrize("name", ["0digits", "digits.v2", "d" * 41, "d" * 64, "d" * 253])
def test_a_name_that_is_invalid_for_a_service_is_rejected(kube: Kube, namespace: str, name: str) -> None:
    with pytest.raises(KubeError, match=r"metadata\.name must be at most 40"):
        kube.create(_model(_source(), namespace, name))


def test_the_longest_name_is_accepted(kube: Kube, namespace: str) -> None:
    kube.create(_model(_source(), namespace, "d" * 40))


def test_defaults_are_set(kube: Kube, namespace: str) -> None:
    spec = kube.create(_model({**_source(), "serving": {}}, namespace))["spec"]
    assert spec["source"]["pollInterval"] == "5m"
    assert spec["serving"]["runtime"] == "auto"
