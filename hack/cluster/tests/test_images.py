"""The program that builds the images of add-ons: buildah for this cluster, docker possibly for another one."""

import os
from pathlib import Path

import pytest
from cluster import images


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with docker and without buildah. The file contains the commands of docker."""
    log = tmp_path / "log"
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\necho "BUILDKIT=$DOCKER_BUILDKIT $*" >> {log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(images, "BIN", tmp_path / "bin")
    monkeypatch.setattr(images, "BUILDAH_PROGRAM", tmp_path / "buildah")
    return log


def test_docker_builds_with_buildkit_and_pushes(docker: Path, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("binary")
    name = "registry.example.com/cluster/program:1"
    images._push_scratch(name, {"/bin/program": tmp_path / "program"}, ["/bin/program"], "0:0")
    build, push = docker.read_text().splitlines()
    assert build.startswith(f"BUILDKIT=1 build --quiet --tag {name} --file ")
    assert push.endswith(f" push --quiet {name}")


def test_buildah_is_preferred_if_it_is_installed(docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "buildah_command", lambda: tmp_path / "buildah")
    (tmp_path / "buildah").touch()
    assert images._builder("registry.example.com/cluster/program:1").name == "buildah"


def test_the_registry_of_this_cluster_always_uses_buildah(
    docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "buildah_command", lambda: tmp_path / "buildah")
    assert images._builder("127.0.0.1:5000/cluster/program:1").name == "buildah"
