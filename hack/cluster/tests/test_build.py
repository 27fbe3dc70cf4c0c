"""The inputs that cause a new build of a program, and the sets of programs."""

import dataclasses
from pathlib import Path

import pytest
from cluster import build
from cluster.console import ClusterError

GO = "go1.26.8"
KUBERNETES = build.source_of("kubelet")
REGISTRY = build.source_of("registry")


def test_the_same_inputs_have_the_same_key() -> None:
    assert build.key(KUBERNETES, GO) == build.key(KUBERNETES, GO)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(REGISTRY, version="v3.1.3"),
        dataclasses.replace(REGISTRY, flags=("-tags=other",)),
        dataclasses.replace(REGISTRY, ldflags="-s"),
        dataclasses.replace(REGISTRY, module="github.com/other/registry"),
    ],
    ids=["version", "flags", "ldflags", "module"],
)
def test_every_input_of_a_binary_changes_its_key(other: build.Source) -> None:
    assert build.key(other, GO) != build.key(REGISTRY, GO)


def test_another_compiler_changes_the_key() -> None:
    assert build.key(REGISTRY, GO) != build.key(REGISTRY, "go1.27.0")


def test_a_changed_file_of_a_local_module_changes_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kubernetes").mkdir()
    (tmp_path / "kubernetes/go.mod").write_text("module one")
    monkeypatch.setattr(build, "MODULES", tmp_path)
    before = build.key(KUBERNETES, GO)
    (tmp_path / "kubernetes/go.mod").write_text("module two")
    assert build.key(KUBERNETES, GO) != before


def test_an_additional_program_does_not_rebuild_the_others() -> None:
    more = dataclasses.replace(REGISTRY, programs={**REGISTRY.programs, "digest": "cmd/digest"})
    assert build.key(more, GO) == build.key(REGISTRY, GO)


def test_the_version_that_kubernetes_reports_is_the_one_that_is_built() -> None:
    required = (build.MODULES / "kubernetes/go.mod").read_text()
    assert f"k8s.io/kubernetes v{build.KUBERNETES}\n" in required


def test_the_version_that_prometheus_reports_is_the_one_that_is_built() -> None:
    major, minor, patch = build.PROMETHEUS.split(".")
    required = (build.MODULES / "prometheus/go.mod").read_text()
    assert f"github.com/prometheus/prometheus v0.{major}{minor:0>2}.{patch}\n" in required


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
        ("go.etcd.io/etcd/server/v3", "server"),
        ("./coredns", "coredns"),
        ("github.com/rancher/local-path-provisioner", "local-path-provisioner"),
    ],
)
def test_a_binary_is_named_as_go_names_it(package: str, name: str) -> None:
    assert build.binary_name(package) == name


def test_sets_are_replaced_by_their_members_once() -> None:
    names = build.programs(["apiserver", "kubectl", "versitygw"])
    assert names == ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "versitygw"]


def test_every_member_of_every_set_can_be_built() -> None:
    assert [build.source_of(name).name for name in build.programs(build.SETS)]


def test_an_unknown_program_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(ClusterError, match=r"unknown program 'kubeless'; the known ones are .*kubelet"):
        build.source_of("kubeless")
