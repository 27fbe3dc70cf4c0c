"""Two operators of different versions, as in an upgrade or a rollback: one is the leader, the other is on standby."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from cluster.apiserver import ApiServer
from fault_source import FaultSource
from faulty_api import FaultyApi, responds_with
from kube import Kube, KubeError, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

SYSTEM = "keras-system"
SERVERS = "app.kubernetes.io/component=server"


@dataclass
class OperatorVersion:
    """An operator of one version, whose name is the name of the pod and the tag of the images."""

    name: str
    kube: Kube
    api: FaultyApi
    process: OperatorProcess

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.kube.delete("pods", SYSTEM, self.name)

    def launch(self) -> None:
        """Start it without waiting."""
        # The leader election identifies an operator by its pod; no kubelet runs that pod.
        if self.kube.get("pods", SYSTEM, self.name) is None:
            wait_until(self._create_pod, "the pod to be admitted")
        self.process.launch()

    def start(self) -> None:
        """Start it, and wait until it is the leader or on standby."""
        self.launch()
        wait_until(self.process.is_ready, f"{self.name} to be ready")

    def leads(self) -> bool:
        """Whether it reports that it is the leader."""
        return self.process.metrics()["keras_operator_leading"] == 1

    def deploys(self, model: ModelFixture) -> bool:
        """Whether the model's Deployment runs this version's image."""
        deployment = model.child("deployments")
        return deployment is not None and self._runs_in(deployment["spec"]["template"])

    def is_rolled_out(self, model: ModelFixture) -> bool:
        """Whether one pod serves the model with this version's image; makes such a pod ready, as the kubelet does."""
        pods = model.kube.list("pods", model.namespace, SERVERS)
        for pod in pods:
            if self._runs_in(pod) and pod["status"]["phase"] == "Pending":
                model.kubelet.make_ready(pod)
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
            if error.status == 403:  # the namespace's ServiceAccount does not exist yet
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
def versions(api_server: ApiServer, kube: Kube, tmp_path: Path) -> Iterator[tuple[OperatorVersion, OperatorVersion]]:
    """The old operator as leader, and the new one before its start; each has its own proxy to the API."""
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
            both.append(stack.enter_context(OperatorVersion(name, kube, api, process)))
        old, new = both
        old.start()
        yield old, new
        for version in both:
            version.api.clear_faults()
            print(f"--- log of {version.name}\n{version.process.tail()}")  # printed when the test fails


@pytest.fixture
def model(kube: Kube, namespace: str) -> ModelFixture:
    return ModelFixture(kube, namespace)


def test_in_an_upgrade_the_new_operator_takes_over_and_the_old_one_stops_writing(
    model: ModelFixture, source: FaultSource, versions: tuple[OperatorVersion, OperatorVersion]
) -> None:
    old, new = versions
    revision = model.serve(source.url)
    assert old.deploys(model)

    new.start()
    written = len(old.api.writes())
    wait_until(lambda: new.is_rolled_out(model), "the new operator's image")
    model.wait_for("Ready", "True", "Serving")
    model.change(serving={"replicas": 2})
    model.kubelet.make_servers_ready("digits", 2)
    model.wait_for("Ready", "True", "Serving")

    assert len(old.api.writes()) == written
    assert old.process.is_ready()
    assert not old.leads()
    assert old.process.tail().count("on standby") == 1
    assert new.api.applied(model.namespace)["deployments digits"] == 2  # the image, the replicas
    assert old.api.created("jobs", model.namespace) == {f"digits-prepare-{revision}": 1}
    assert new.api.created("jobs", model.namespace) == {}


def test_the_new_operator_continues_after_a_kill_during_an_upgrade(
    model: ModelFixture, source: FaultSource, versions: tuple[OperatorVersion, OperatorVersion]
) -> None:
    _, new = versions
    first = model.serve(source.url)
    new.start()
    wait_until(lambda: new.deploys(model), "the new operator's image")
    new.process.kill()
    model.change(serving={"runtime": "onnxruntime"})
    new.start()
    second = wait_until(
        lambda: (found := model.status().get("desiredRevision", first)) != first and found,
        "the next revision",
    )
    model.kubelet.complete_prepare("digits", second)
    model.kubelet.make_servers_ready("digits", revision=second)
    model.wait_for("Ready", "True", "Serving")

    assert new.deploys(model)
    assert new.api.created("jobs", model.namespace) == {f"digits-prepare-{second}": 1}
    assert new.api.applied(model.namespace)["deployments digits"] == 2  # the image, the revision
    assert [call.what for call in new.api.writes()].count("apply leases") == 1


def test_in_a_rollback_the_old_operator_becomes_the_leader_again(
    model: ModelFixture, source: FaultSource, versions: tuple[OperatorVersion, OperatorVersion]
) -> None:
    old, new = versions
    model.serve(source.url)
    new.start()
    wait_until(lambda: new.deploys(model), "the new operator's image")
    wait_until(lambda: not old.leads(), "the old operator to be on standby")
    new.process.stop()
    model.kube.delete("pods", SYSTEM, new.name)
    wait_until(lambda: old.deploys(model), "the old operator's image")
    assert old.leads()


def test_an_old_operator_that_restarts_stays_on_standby(
    model: ModelFixture, source: FaultSource, versions: tuple[OperatorVersion, OperatorVersion]
) -> None:
    old, new = versions
    model.serve(source.url)
    new.start()
    wait_until(lambda: new.deploys(model), "the new operator's image")
    old.process.kill()
    before = len(old.api.writes())
    old.start()
    assert not old.leads()
    model.change(serving={"replicas": 2})
    wait_until(lambda: model.wait_for_child("deployments")["spec"]["replicas"] == 2, "two replicas")
    assert new.leads()
    assert len(old.api.writes()) == before


def test_a_restart_keeps_the_lease_without_a_write(versions: tuple[OperatorVersion, OperatorVersion]) -> None:
    old, _ = versions
    old.process.kill()
    old.start()
    assert old.leads()
    assert [call.what for call in old.api.writes()] == ["apply leases"]


def test_an_operator_that_cannot_read_the_lease_logs_the_error_and_is_not_ready(
    versions: tuple[OperatorVersion, OperatorVersion],
) -> None:
    old, new = versions
    rejected = new.api.inject("get leases", responds_with(403), times=2)
    new.launch()
    wait_until(lambda: "the Lease keras-system/keras-operator cannot be acquired" in new.process.tail(), "the log line")
    assert not new.process.is_ready()
    assert old.leads()
    wait_until(new.process.is_ready, "the new operator to be ready")
    assert rejected.is_done


def test_nothing_is_written_while_the_lease_cannot_be_read(
    model: ModelFixture, source: FaultSource, versions: tuple[OperatorVersion, OperatorVersion]
) -> None:
    old, _ = versions
    rejected = old.api.inject("get leases", responds_with(503), times=3)
    model.create(source.url)
    wait_until(lambda: rejected.is_done, "the rejected requests")
    assert [call.what for call in old.api.writes()] == ["apply leases"]
    model.kubelet.complete_prepare("digits")
    model.kubelet.make_servers_ready("digits")
    model.wait_for("Ready", "True")
