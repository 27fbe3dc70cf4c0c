"""Which cluster add-ons go to, and what there is not theirs."""

import json
import os
from pathlib import Path

import pytest
from cluster.console import ClusterError
from cluster.paths import KUBECONFIG
from cluster.target import FIELD_MANAGER, Target


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


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Target, Path]:
    """A cluster with a namespace of ours and one of somebody else's, as its kubectl has it; and what that was told."""
    managers = {"s3": FIELD_MANAGER, "monitoring": "helm"}
    answers = tmp_path / "answers"
    for name, manager in managers.items():
        metadata = {"name": name, "managedFields": [{"manager": manager, "operation": "Apply"}]}
        answers.mkdir(exist_ok=True)
        (answers / name).write_text(json.dumps({"kind": "Namespace", "metadata": metadata}))
    program = tmp_path / "kubectl"
    program.write_text(
        f"""#!/bin/sh
stdin="$(cat)"
echo "$1 $stdin" >> {tmp_path}/told
case "$1 $stdin" in
  "get "*Prometheus*) echo 'error: no matches for kind "Prometheus"' >&2; exit 1 ;;
  "get name: s3") cat {answers}/s3 ;;
  "get name: monitoring") cat {answers}/monitoring ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Target("/theirs", "registry.example.com"), tmp_path / "told"


def test_what_somebody_else_made_is_not_taken_over(shared: tuple[Target, Path]) -> None:
    target, _ = shared
    target.require_ours("name: s3\n---\nname: new\n---\nkind: Prometheus")
    with pytest.raises(ClusterError, match="made by somebody else: Namespace monitoring"):
        target.require_ours("name: s3\n---\nname: monitoring")


def test_what_somebody_else_made_is_not_deleted(shared: tuple[Target, Path]) -> None:
    target, told = shared
    target.delete("name: s3\n---\nname: monitoring\n---\nkind: Prometheus")
    (deleted,) = [line for line in told.read_text().splitlines() if line.startswith("delete ")]
    assert '"name": "s3"' in deleted
    assert "monitoring" not in deleted
