"""The cluster of add-ons, and objects in it that other tools created."""

from collections.abc import Iterator

import pytest
from cluster.apiserver import ApiServer
from cluster.console import ClusterError
from cluster.paths import KUBECONFIG
from cluster.target import Target


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/another/kubeconfig")
    for name in ("CLUSTER", "IMAGE_REGISTRY"):
        monkeypatch.delenv(name, raising=False)


def test_a_kubeconfig_in_the_environment_is_ignored() -> None:
    assert Target.from_environment().kubeconfig == str(KUBECONFIG)


def test_the_current_context_is_used_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "current")
    monkeypatch.setenv("IMAGE_REGISTRY", "registry.example.com/ml")
    assert Target.from_environment() == Target("/another/kubeconfig", "registry.example.com/ml")


def test_the_current_context_needs_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "current")
    with pytest.raises(ClusterError, match="needs IMAGE_REGISTRY"):
        Target.from_environment()


MANIFEST = """\
apiVersion: v1
kind: Namespace
metadata:
  name: s3
  labels: {app.kubernetes.io/part-of: hack-cluster}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: s3
  namespace: s3
  labels: {app.kubernetes.io/part-of: hack-cluster}
"""
OTHERS = """\
---
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: of-an-unknown-kind, namespace: s3}
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A cluster of another owner with its namespace `monitoring`, and the objects that were applied here."""
    with ApiServer(tmp_path_factory.mktemp("api"), controller_manager=True) as server:
        target = Target(str(server.kubeconfig), "registry.example.com")
        target.kubectl("create", "namespace", "monitoring")
        target.apply(MANIFEST)
        yield target


def test_objects_of_another_tool_are_not_taken_over(shared: Target) -> None:
    shared.require_ours(MANIFEST)
    assert shared.is_others("namespace/monitoring")
    assert not shared.is_others("namespace/s3")
    assert not shared.is_others("namespace/none")
    with pytest.raises(ClusterError, match=r"that another tool created: Namespace monitoring$"):
        shared.require_ours(MANIFEST + OTHERS)


def test_objects_of_another_tool_are_not_deleted(shared: Target) -> None:
    shared.delete(MANIFEST + OTHERS)
    left = shared.kubectl("get", "namespaces", "-o", "name").split()
    assert "namespace/monitoring" in left
    assert "namespace/s3" not in left
