"""Faults in the environment of a model: quotas and limit ranges, a failing store, missing permissions, evictions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kubectl as k8s
from fault_source import run_fault_source

SYSTEM = "keras-system"


def quota(**hard: int) -> dict[str, Any]:
    spec = {"hard": {name: str(count) for name, count in hard.items()}}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "pods"}, "spec": spec}


def limit_range(**limits: dict[str, str]) -> dict[str, Any]:
    spec = {"limits": [{"type": "Container", **limits}]}
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": spec}


@contextmanager
def rule(obj: dict[str, Any], namespace: str) -> Iterator[None]:
    """A quota or limit range exists while the context lasts."""
    k8s.apply(obj, namespace=namespace)
    try:
        yield
    finally:
        k8s.kubectl("delete", obj["kind"].lower(), obj["metadata"]["name"], "-n", namespace)


@contextmanager
def stopped_store() -> Iterator[None]:
    """The store has no pod while the context lasts."""
    k8s.kubectl("scale", "deployment", "keras-store", "-n", SYSTEM, "--replicas=0")
    try:
        yield
    finally:
        k8s.kubectl("scale", "deployment", "keras-store", "-n", SYSTEM, "--replicas=1")
    k8s.kubectl("rollout", "status", "deployment/keras-store", "-n", SYSTEM, "--timeout=60s")


@contextmanager
def unresponsive_store(image: str) -> Iterator[None]:
    """The store's Service routes to a pod that accepts connections, and never answers."""
    service = k8s.get("service", "keras-store", SYSTEM)
    assert service
    own = service["spec"]["selector"]
    run_fault_source(SYSTEM, image)
    route_store_to({**dict.fromkeys(own), "app": "fault-source"})
    try:
        yield
    finally:
        route_store_to({**own, "app": None})
        k8s.kubectl("delete", "pod,service", "fault-source", "-n", SYSTEM)


def route_store_to(selector: dict[str, Any]) -> None:
    patch = json.dumps({"spec": {"selector": selector}})
    k8s.kubectl("patch", "service", "keras-store", "-n", SYSTEM, "-p", patch)


@contextmanager
def full_store() -> Iterator[None]:
    """The store has a volume that is too small for a bundle while the context lasts."""
    deployment = k8s.get("deployment", "keras-store", SYSTEM)
    assert deployment
    own = next(each for each in deployment["spec"]["template"]["spec"]["volumes"] if each["name"] == "data")
    small = {"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}
    set_store_volume({**dict.fromkeys(own), **small})
    try:
        yield
    finally:
        set_store_volume({**dict.fromkeys(small), **own})


def set_store_volume(volume: dict[str, Any]) -> None:
    patch = json.dumps({"spec": {"template": {"spec": {"volumes": [volume]}}}})
    k8s.kubectl("patch", "deployment", "keras-store", "-n", SYSTEM, "--type=strategic", "-p", patch)
    k8s.kubectl("rollout", "status", "deployment/keras-store", "-n", SYSTEM, "--timeout=60s")


def unbound_claim(name: str) -> dict[str, Any]:
    """A claim of a class that no provisioner serves."""
    resources = {"requests": {"storage": "1Mi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "without-provisioner", "resources": resources}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def foreign_service(name: str) -> dict[str, Any]:
    spec = {"selector": {"app": "another-app"}, "ports": [{"port": 9999}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


@contextmanager
def labelled(namespace: str, key: str, value: str) -> Iterator[None]:
    """A namespace has a label while the context lasts."""
    k8s.kubectl("label", "namespace", namespace, f"{key}={value}")
    try:
        yield
    finally:
        k8s.kubectl("label", "namespace", namespace, f"{key}-")


def prepare_memory_policy() -> list[dict[str, Any]]:
    """A policy: in namespaces labelled `prepare-memory: low`, the container `prepare` has a limit of 24 MiB."""
    name = "low-prepare-memory"
    mutations = [
        {"op": "replace", "path": f"/spec/initContainers/1/resources/{kind}/memory", "value": "24Mi"}
        for kind in ("limits", "requests")
    ]
    expression = (
        "["
        + ", ".join(
            f'JSONPatch{{op: "{each["op"]}", path: "{each["path"]}", value: "{each["value"]}"}}' for each in mutations
        )
        + "]"
    )
    api = {"apiVersion": "admissionregistration.k8s.io/v1"}
    policy = {
        **api,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"prepare-memory": "low"}},
                "objectSelector": {"matchLabels": {"app.kubernetes.io/component": "prepare"}},
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ],
            },
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    }
    binding = {
        **api,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    return [policy, binding]


def applied_form(role: dict[str, Any]) -> dict[str, Any]:
    """A role as the chart contains it, without the fields that the API server adds."""
    metadata = {key: role["metadata"][key] for key in ("name", "labels", "annotations")}
    return {**{key: role[key] for key in ("apiVersion", "kind", "rules")}, "metadata": metadata}


def apply_as_helm(obj: dict[str, Any]) -> None:
    """Apply an object as helm's field manager; another one would cause a conflict in the next `helm upgrade`."""
    options = ("--server-side", "--force-conflicts", "--field-manager=helm")
    k8s.kubectl("apply", *options, "-f", "-", stdin=json.dumps(obj))


def evict(pod: str, namespace: str) -> None:
    """Evict a pod, as `kubectl drain` does."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    k8s.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
