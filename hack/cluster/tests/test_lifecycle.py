"""Whose cluster may be touched, decided before anything is."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from cluster import cgroups, images, lifecycle, paths
from cluster.console import ClusterError
from cluster.lifecycle import Owner


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for what the kernel says of the cluster's processes."""
    (tmp_path / "cgroup.procs").touch()
    procs = tmp_path / cgroups.CGROUP / "daemons/cgroup.procs"
    procs.parent.mkdir(parents=True)
    procs.touch()
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    return procs


def test_processes_of_pods_count_as_the_clusters(hierarchy: Path) -> None:
    hierarchy.write_text("11\n12\n")
    pod = hierarchy.parent.parent / "kubepods/pod1/container/cgroup.procs"
    pod.parent.mkdir(parents=True)
    pod.write_text("13\n")
    assert sorted(cgroups.members()) == [11, 12, 13]
    assert lifecycle.running()


def test_an_empty_cgroup_is_no_cluster(hierarchy: Path) -> None:
    assert not lifecycle.running()


def test_a_cluster_outside_of_this_container_is_not_ours_to_judge(hierarchy: Path) -> None:
    hierarchy.write_text("0\n0\n")
    with pytest.raises(ClusterError, match="a cluster runs outside of this container"):
        lifecycle.running()


def test_a_cluster_of_another_clone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=f"the cluster of {tmp_path} is running on this machine"):
        lifecycle._refuse_unless_abandoned(Owner(str(tmp_path), "/cache"))


def test_a_cluster_of_a_clone_that_is_gone_is_abandoned(tmp_path: Path) -> None:
    lifecycle._refuse_unless_abandoned(Owner(str(tmp_path / "gone"), "/cache"))


def test_a_cluster_that_nobody_owns_is_refused() -> None:
    with pytest.raises(ClusterError, match="nothing says whose they are"):
        lifecycle._refuse_unless_abandoned(None)


def test_pruning_keeps_what_was_built_from_source(
    tmp_path: Path, hierarchy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "LOCK", tmp_path / "images.lock")
    # The machine's own is held for as long as a cluster starts, which may be another clone's.
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
