"""The owner of a cluster is checked before anything changes."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from cluster import cgroups, images, lifecycle, paths
from cluster.console import ClusterError
from cluster.lifecycle import Owner


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in place of the kernel's list of the cluster's processes."""
    (tmp_path / "cgroup.procs").touch()
    procs = tmp_path / cgroups.CGROUP / "daemons/cgroup.procs"
    procs.parent.mkdir(parents=True)
    procs.touch()
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    return procs


def test_processes_of_pods_belong_to_the_cluster(hierarchy: Path) -> None:
    hierarchy.write_text("11\n12\n")
    pod = hierarchy.parent.parent / "kubepods/pod1/container/cgroup.procs"
    pod.parent.mkdir(parents=True)
    pod.write_text("13\n")
    assert sorted(cgroups.members()) == [11, 12, 13]
    assert lifecycle.running()


def test_with_an_empty_cgroup_no_cluster_runs(hierarchy: Path) -> None:
    assert not lifecycle.running()


def test_a_cluster_outside_of_this_container_is_an_error(hierarchy: Path) -> None:
    hierarchy.write_text("0\n0\n")
    with pytest.raises(ClusterError, match="a cluster runs outside of this container"):
        lifecycle.running()


def test_a_cluster_of_another_clone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=f"the cluster of {tmp_path} is running"):
        lifecycle._refuse_unless_abandoned(Owner(str(tmp_path), "/cache"))


def test_a_cluster_of_a_deleted_clone_is_abandoned(tmp_path: Path) -> None:
    lifecycle._refuse_unless_abandoned(Owner(str(tmp_path / "gone"), "/cache"))


def test_a_cluster_without_an_owner_is_an_error() -> None:
    with pytest.raises(ClusterError, match="their owner is unknown"):
        lifecycle._refuse_unless_abandoned(None)


def test_prune_keeps_the_programs_that_were_built_from_source(
    tmp_path: Path, hierarchy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "LOCK", tmp_path / "images.lock")
    # The lock of the machine is held while a cluster starts, possibly that of another clone.
    monkeypatch.setattr(lifecycle, "_lock", nullcontext)
    for name in ("BUILDAH", "REGISTRY", "CONTAINERD", "BUILDS"):
        folder = tmp_path / name
        (folder / "some").mkdir(parents=True)
        monkeypatch.setattr(paths, name, folder)
    lifecycle.prune()
    assert [name for name in ("BUILDAH", "REGISTRY", "CONTAINERD", "BUILDS") if (tmp_path / name).exists()] == [
        "BUILDS"
    ]
    hierarchy.write_text("11\n")
    with pytest.raises(ClusterError, match="stop it first"):
        lifecycle.prune()
