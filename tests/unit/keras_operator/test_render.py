"""Rendered objects as golden files, for review; `make golden` updates them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from operator_makers import (
    CHILD_KINDS,
    KEY,
    SETTINGS,
    live,
    model,
    prepare_job,
    rendered,
    service,
    service_monitor,
    summary,
)

from keras_api.memory import GIB
from keras_api.resource import SpecError
from keras_api.scalars import quantity
from keras_operator.cache.cache import Cache
from keras_operator.components.deployment import deployment
from keras_operator.components.service_account import ServiceAccountComponent
from keras_operator.kube.kinds import JOB, Object
from keras_operator.naming.sizing import Memory, prepare_mib, server_memory
from keras_store.sources.fingerprint import Fingerprint

GOLDEN = Path(__file__).parents[2] / "golden" / "operator"
SMALL = Fingerprint("etag-1", 100_000)
S3_STORE = replace(SETTINGS, store_url="s3://bundles/keras", store_secret="bundles", image_pull_secrets=("registry",))

FULL: dict[str, Any] = {
    "source": {
        "uri": "s3://models/digits.keras",
        "secretRef": {"name": "models-reader"},
        "s3": {"endpoint": "http://minio.storage.svc:9000"},
        "customObjects": {"configMapRef": {"name": "own-layers"}},
    },
    "validation": {"data": "pvc://data.sets/digits.csv", "require": [{"metric": "accuracy", "min": "0.95"}]},
    "serving": {
        "replicas": 2,
        "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
        "podTemplate": {
            "metadata": {"labels": {"team": "a"}, "annotations": {"sidecar": "no"}},
            "spec": {
                "nodeSelector": {"disk": "ssd"},
                "containers": [{"name": "server", "env": [{"name": "OMP_NUM_THREADS", "value": "2"}]}],
            },
        },
    },
    "monitoring": {"serviceMonitor": {"labels": {"release": "prometheus"}, "interval": "15s"}},
}

RENDERED: dict[str, Object] = {
    "service-account": rendered(ServiceAccountComponent(), model()),
    "service": service(model()),
    "service-monitor": service_monitor(model()),
    "service-monitor-full": service_monitor(model(**FULL)),
    "prepare-job": prepare_job(model(), "0123456789", SMALL),
    "prepare-job-full": prepare_job(
        model(**FULL), "0123456789", Fingerprint("etag-1", 59_000_000), S3_STORE, attempt=2, memory=Memory(factor=2)
    ),
    "prepare-job-claim": prepare_job(
        model(source={"uri": "pvc://models/digits.keras"}), "0123456789", Fingerprint("pvc", None)
    ),
    "deployment": deployment(model(), "0123456789", summary(), SETTINGS),
    "deployment-full": deployment(model(**FULL), "0123456789", summary(), S3_STORE),
    "deployment-tensorflow": deployment(model(), "0123456789", summary("tensorflow", 1_000_000), SETTINGS),
}


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.mark.parametrize("name", RENDERED)
def test_a_rendered_object_matches_its_golden_file(name: str) -> None:
    path = GOLDEN / f"{name}.yaml"
    text = yaml.dump(RENDERED[name], Dumper=_Plain, sort_keys=False, width=120)
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.is_file(), f"{path} is missing: run `make golden` and review it"
    assert yaml.safe_load(text) == yaml.safe_load(path.read_text()), "run `make golden` and review the difference"


def test_there_is_no_golden_file_without_a_test() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(RENDERED)


def _containers(obj: Object) -> dict[str, Object]:
    pod = obj["spec"]["template"]["spec"]
    return {each["name"]: each for each in [*pod.get("initContainers", []), *pod["containers"]]}


@pytest.mark.parametrize("name", ["prepare-job", "prepare-job-full", "prepare-job-claim"])
def test_the_container_that_opens_the_model_file_has_no_credentials(name: str) -> None:
    prepare = _containers(RENDERED[name])["prepare"]
    assert "envFrom" not in prepare
    code = {"custom-objects"} if name == "prepare-job-full" else set()
    assert {mount["name"] for mount in prepare["volumeMounts"]} == {"tmp", "work", *code}


def test_custom_code_is_mounted_only_in_the_prepare_container() -> None:
    for name, each in _containers(RENDERED["prepare-job-full"]).items():
        assert ("custom-objects" in str(each["volumeMounts"])) is (name == "prepare")
    assert "custom-objects" not in str(RENDERED["deployment-full"]["spec"])


@pytest.mark.parametrize("name", [name for name in RENDERED if name.startswith(("prepare", "deployment"))])
def test_every_container_is_restricted(name: str) -> None:
    pod = RENDERED[name]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in _containers(RENDERED[name]).values():
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_dollar_signs_in_an_address_are_escaped() -> None:
    job = prepare_job(model(source={"uri": "s3://m/$(HOME)$$.keras"}), "0123456789", SMALL)
    for name in ("fetch", "prepare", "put"):
        assert "s3://m/$$(HOME)$$$$.keras" in " ".join(_containers(job)[name]["command"])


def test_replicas_are_rendered_only_when_the_spec_sets_them() -> None:
    assert "replicas" not in RENDERED["deployment"]["spec"]
    assert RENDERED["deployment-full"]["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("spec", "rendered"), [({}, []), ({"nonFinite": "reject"}, []), ({"nonFinite": "pass"}, ["pass"])]
)
def test_the_server_passes_numbers_on_that_are_not_finite_if_the_spec_does(spec: Object, rendered: list[str]) -> None:
    (server,) = _containers(deployment(model(serving=spec), "0123456789", summary(), SETTINGS)).values()

    options = dict(zip(server["command"], server["command"][1:], strict=False))
    assert [options[name] for name in ("--non-finite",) if name in options] == rendered


@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_a_reserved_key_is_rejected(field: str) -> None:
    spec = {"podTemplate": {"metadata": {field: {"keras-operator.dev/model": "x"}}}}
    with pytest.raises(SpecError, match=rf"{field}\['keras-operator.dev/model'\] is set by the operator"):
        deployment(model(serving=spec), "0123456789", summary(), SETTINGS)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {"requests": {"cpu": "100m", "memory": "129Mi"}}),
        ({"requests": {"memory": "2Gi"}}, {"requests": {"cpu": "100m", "memory": "2Gi"}}),
        ({"limits": {"memory": "64Mi"}}, {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}),
    ],
)
def test_resources_of_the_spec_override_the_defaults(resources: Object, expected: Object) -> None:
    obj = deployment(model(serving={"resources": resources}), "0123456789", summary(), SETTINGS)
    assert _containers(obj)["server"]["resources"] == expected


@pytest.mark.parametrize(
    ("size", "least", "most"),
    [(100_000, 1.5, 1.6), (59_000_000, 2.8, 3.2), (134_000_000, 4.5, 5.0), (2 * GIB, 15, 16), (None, 2.9, 3.3)],
    ids=["small", "VGG16", "134 MB", "2 GiB", "unknown"],
)
def test_prepare_memory_follows_the_size_of_the_source(size: int | None, least: float, most: float) -> None:
    assert least * 1024 <= prepare_mib(size) <= most * 1024


@pytest.mark.parametrize(
    ("memory", "least", "limits"),
    [
        (Memory(), "0", [512, prepare_mib(7), 512]),
        (Memory(), "4Gi", [4096, 4096, 4096]),
        (Memory(), "600Mi", [600, prepare_mib(7), 600]),
        (Memory(factor=2), "0", [1024, 2 * prepare_mib(7), 1024]),
        (Memory(mib=5000, factor=2), "600Mi", [1200, 10_000, 1200]),
    ],
    ids=["usual", "lower bound for all", "lower bound for some", "twice", "raised by earlier attempts"],
)
def test_the_memory_of_a_prepare_job(memory: Memory, least: str, limits: list[int]) -> None:
    settings = replace(SETTINGS, prepare_memory=int(quantity(least)))
    job = prepare_job(model(), "0123456789", Fingerprint("e", 7), settings, memory=memory)
    containers = _containers(job)
    assert [containers[name]["resources"]["limits"]["memory"] for name in ("fetch", "prepare", "put")] == [
        f"{mib}Mi" for mib in limits
    ]
    # The cache reads the memory back from the Job.
    cache = Cache(CHILD_KINDS)
    cache.update(JOB, live(JOB, job))
    (child,) = cache.children(KEY).values()
    assert child.memory == Memory(limits[1] // memory.factor, memory.factor)


def test_tensorflow_needs_more_memory_than_onnxruntime() -> None:
    tensorflow, onnx = (int(server_memory(summary(name)).removesuffix("Mi")) for name in ("tensorflow", "onnxruntime"))
    assert tensorflow > 4 * onnx
