"""Two operators of different versions at once, as in an upgrade or a rollback: one works, and the other one rests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from cluster.apiserver import ApiServer
from fault_source import Source
from faulty_api import FaultyApi, answers
from kube import Kube, KubeError, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

SYSTEM = "keras-system"
SERVERS = "app.kubernetes.io/component=server"


@dataclass
class Version:
    """An operator of one version: its pod's name is that of the version, and so is its images' tag."""

    name: str
    kube: Kube
    api: FaultyApi
    process: OperatorProcess

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.kube.delete("pods", SYSTEM, self.name)

    def begin(self) -> None:
        """Start it, and do not wait."""
        # A pod of its own is what tells one operator from another; no kubelet runs it.
        if self.kube.get("pods", SYSTEM, self.name) is None:
            wait_until(self._create_pod, "the pod to be admitted")
        self.process.begin()

    def start(self) -> None:
        """Start it, and wait until it knows whether it is to work."""
        self.begin()
        wait_until(self.process.is_ready, f"{self.name} to be ready")

    def leads(self) -> bool:
        """Whether it says that it is the one at work."""
        return self.process.metrics()["keras_operator_leading"] == 1

    def deploys(self, scene: ModelFixture) -> bool:
        """Whether the model's Deployment runs this version's image."""
        deployment = scene.child("deployments")
        return deployment is not None and self._runs_in(deployment["spec"]["template"])

    def is_rolled_out(self, scene: ModelFixture) -> bool:
        """Whether one pod serves the model, with this version's image; plays the kubelet for it."""
        pods = scene.kube.list("pods", scene.namespace, SERVERS)
        for pod in pods:
            if self._runs_in(pod) and pod["status"]["phase"] == "Pending":
                scene.kubelet.turns_ready(pod)
        return len(pods) == 1 and self._runs_in(pods[0])

    def _runs_in(self, pod: Object) -> bool:
        return bool(pod["spec"]["containers"][0]["image"] == f"registry.example.org/server:{self.name}")

    def _create_pod(self) -> bool:
        container = {"name": "operator", "image": "operator:1"}
        metadata = {"name": self.name, "namespace": SYSTEM}
        try:
            self.kube.create(
                {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
            )
        except KubeError as error:
            if error.status == 403:  # the namespace's ServiceAccount is not there yet
                return False
            raise
        return True


@pytest.fixture(scope="module")
def api_server(quiet_api_server: ApiServer) -> ApiServer:
    return quiet_api_server


@pytest.fixture(scope="module")
def kube(api_server: ApiServer) -> Kube:
    kube = Kube(api_server.kubeconfig)
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    return kube


@pytest.fixture
def versions(api_server: ApiServer, kube: Kube, tmp_path: Path) -> Iterator[tuple[Version, Version]]:
    """The old operator at work, and the new one not yet started; each has its own way to the API."""
    with ExitStack() as stack:
        both = []
        for name in ("v1", "v2"):
            api = stack.enter_context(FaultyApi(api_server.kubeconfig, tmp_path / f"{name}.kubeconfig"))
            process = OperatorProcess(
                api.kubeconfig,
                tmp_path / f"{name}.log",
                server_image=f"registry.example.org/server:{name}",
                lease=f"{SYSTEM}/keras-operator",
                pod_name=name,
            )
            both.append(stack.enter_context(Version(name, kube, api, process)))
        old, new = both
        old.start()
        yield old, new
        for version in both:
            version.api.relent()
            print(f"--- log of {version.name}\n{version.process.tail()}")  # shown when the test has failed


@pytest.fixture
def scene(kube: Kube, namespace: str) -> ModelFixture:
    return ModelFixture(kube, namespace)


def test_in_an_upgrade_the_new_operator_works_and_the_old_one_writes_no_more(
    scene: ModelFixture, source: Source, versions: tuple[Version, Version]
) -> None:
    old, new = versions
    revision = scene.serve(source.url)
    assert old.deploys(scene)

    new.start()
    written = len(old.api.writes())
    wait_until(lambda: new.is_rolled_out(scene), "the new operator's image")
    scene.wait_for("Ready", "True", "Serving")
    scene.change(serving={"replicas": 2})
    scene.kubelet.serves("digits", 2)
    scene.wait_for("Ready", "True", "Serving")

    assert len(old.api.writes()) == written
    assert old.process.is_ready()
    assert not old.leads()
    assert old.process.tail().count("on standby") == 1
    assert new.api.applied(scene.namespace)["deployments digits"] == 2  # the image, the replicas
    assert old.api.created("jobs", scene.namespace) == {f"digits-prepare-{revision}": 1}
    assert new.api.created("jobs", scene.namespace) == {}


def test_killed_in_an_upgrade_the_new_operator_goes_on_where_it_was(
    scene: ModelFixture, source: Source, versions: tuple[Version, Version]
) -> None:
    _, new = versions
    first = scene.serve(source.url)
    new.start()
    wait_until(lambda: new.deploys(scene), "the new operator's image")
    new.process.kill()
    scene.change(serving={"runtime": "onnxruntime"})
    new.start()
    second = wait_until(
        lambda: (found := scene.status().get("desiredRevision", first)) != first and found,
        "the next revision",
    )
    scene.kubelet.prepares("digits", second)
    scene.kubelet.serves("digits", revision=second)
    scene.wait_for("Ready", "True", "Serving")

    assert new.deploys(scene)
    assert new.api.created("jobs", scene.namespace) == {f"digits-prepare-{second}": 1}
    assert new.api.applied(scene.namespace)["deployments digits"] == 2  # the image, the revision
    assert [call.what for call in new.api.writes()].count("apply leases") == 1


def test_in_a_rollback_the_old_operator_works_again(
    scene: ModelFixture, source: Source, versions: tuple[Version, Version]
) -> None:
    old, new = versions
    scene.serve(source.url)
    new.start()
    wait_until(lambda: new.deploys(scene), "the new operator's image")
    wait_until(lambda: not old.leads(), "the old operator to rest")
    new.process.stop()
    scene.kube.delete("pods", SYSTEM, new.name)
    wait_until(lambda: old.deploys(scene), "the old operator's image")
    assert old.leads()


def test_an_old_operator_that_starts_again_does_not_take_the_work_from_the_new_one(
    scene: ModelFixture, source: Source, versions: tuple[Version, Version]
) -> None:
    old, new = versions
    scene.serve(source.url)
    new.start()
    wait_until(lambda: new.deploys(scene), "the new operator's image")
    old.process.kill()
    before = len(old.api.writes())
    old.start()
    assert not old.leads()
    scene.change(serving={"replicas": 2})
    wait_until(lambda: scene.wait_for_child("deployments")["spec"]["replicas"] == 2, "two replicas")
    assert new.leads()
    assert len(old.api.writes()) == before


def test_a_restart_keeps_the_lease_without_a_write(versions: tuple[Version, Version]) -> None:
    old, _ = versions
    old.process.kill()
    old.start()
    assert old.leads()
    assert [call.what for call in old.api.writes()] == ["apply leases"]


def test_what_keeps_it_from_the_lease_is_logged_and_it_is_not_ready(versions: tuple[Version, Version]) -> None:
    old, new = versions
    refused = new.api.plan("get leases", answers(403), times=2)
    new.begin()
    wait_until(lambda: "the Lease keras-system/keras-operator cannot be acquired" in new.process.tail(), "a line")
    assert not new.process.is_ready()
    assert old.leads()
    wait_until(new.process.is_ready, "the new operator to be ready")
    assert refused.is_over


def test_without_a_look_at_the_lease_nothing_is_written(
    scene: ModelFixture, source: Source, versions: tuple[Version, Version]
) -> None:
    old, _ = versions
    refused = old.api.plan("get leases", answers(503), times=3)
    scene.create(source.url)
    wait_until(lambda: refused.is_over, "the refusals")
    assert [call.what for call in old.api.writes()] == ["apply leases"]
    scene.kubelet.prepares("digits")
    scene.kubelet.serves("digits")
    scene.wait_for("Ready", "True")
