"""Which cluster add-ons go to."""

import pytest
from cluster.console import ClusterError
from cluster.paths import KUBECONFIG
from cluster.target import Target


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/somebody/elses")
    for name in ("CLUSTER", "IMAGE_REGISTRY"):
        monkeypatch.delenv(name, raising=False)


def test_a_kubeconfig_in_the_environment_alone_changes_nothing() -> None:
    assert Target.from_environment().kubeconfig == str(KUBECONFIG)


def test_the_current_context_is_taken_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "current")
    monkeypatch.setenv("IMAGE_REGISTRY", "registry.example.com/ml")
    assert Target.from_environment() == Target("/somebody/elses", "registry.example.com/ml")


def test_the_current_context_needs_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "current")
    with pytest.raises(ClusterError, match="needs IMAGE_REGISTRY"):
        Target.from_environment()
