"""The operator with too few rights, through an outage of the API, before its definition is there, and at its end."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from chart import login, roles
from cluster.apiserver import ApiServer
from fault_source import Source
from kube import Kube, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

from keras_api.crd import custom_resource_definition
from keras_store.sources.registry import SCHEMES


def _namespace(kube: Kube, name: str) -> str:
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@contextmanager
def _without(kube: Kube, resource: str, verbs: set[str], namespace: str = "") -> Iterator[None]:
    """The chart's rights but for some verbs on a resource, which are granted when the context ends."""
    _namespace(kube, "keras-system")
    changed = []
    for obj in roles():
        less = copy.deepcopy(obj)
        if obj["kind"] == "ClusterRole":
            changed.append(obj)
            kept = []
            for rule in less["rules"]:
                for each in rule["resources"]:
                    allowed = [verb for verb in rule["verbs"] if each != resource or verb not in verbs]
                    kept.append({**rule, "resources": [each], "verbs": allowed})
            less["rules"] = [rule for rule in kept if rule["verbs"]]
        kube.create(less)
    yield
    for role in changed:
        kube.patch("clusterroles", "", role["metadata"]["name"], {"rules": role["rules"]})


@pytest.mark.parametrize(
    ("resource", "verbs", "words"),
    [
        ("services", {"create", "patch"}, "may not patch services:"),
        ("pods", {"list", "watch"}, "may not list pods:"),
        ("pods", {"watch"}, "may not watch pods:"),
        ("deployments", {"list"}, "may not list deployments.apps:"),
    ],
    ids=["writing", "seeing", "watching", "listing"],
)
def test_a_missing_right_is_named_and_used_once_it_is_granted(
    own_api: ApiServer, own_kube: Kube, source: Source, tmp_path: Path, resource: str, verbs: set[str], words: str
) -> None:
    _namespace(own_kube, "team-a")
    scene = ModelFixture(own_kube, "team-a")
    with ExitStack() as stack:
        with _without(own_kube, resource, verbs):
            account = login(own_kube, own_api, tmp_path)
            operator = stack.enter_context(OperatorProcess(account, tmp_path / "log"))
            scene.create(source.url)
            message = scene.wait_for("Ready", "False", "Forbidden")["message"]
            assert words in message
            wait_until(lambda: scene.child("serviceaccounts"), "what may be done to be done")
        scene.kubelet.prepares("digits")
        scene.kubelet.serves("digits")
        scene.wait_for("Ready", "True", "Serving")
        assert operator.is_ready(), "the same process goes on"


def test_an_outage_of_the_api_is_survived(own_api: ApiServer, own_kube: Kube, source: Source, tmp_path: Path) -> None:
    _namespace(own_kube, "team-a")
    with OperatorProcess(own_api.kubeconfig, tmp_path / "log") as operator:
        scene = ModelFixture(own_kube, "team-a")
        scene.serve(source.url)
        before = operator.applies()
        own_api.stop()
        time.sleep(3)
        own_api.start()
        scene.change(serving={"replicas": 2})
        wait_until(lambda: scene.wait_for_child("deployments")["spec"]["replicas"] == 2, "the change", timeout=60)
        scene.kubelet.serves("digits", 2)
        scene.wait_for("Ready", "True", "Serving")
        applied = operator.applies() - before
        # What was really gone is made again: a garbage collector that starts before the API serves KerasModels may take
        # them for deleted. What was there is not applied again.
        needless = {kind: count for kind, count in applied.items() if kind[1] != "missing"}
        assert needless == {("Deployment", "changed"): 1}


def test_the_operator_may_be_started_before_its_crd(tmp_path: Path, source: Source) -> None:
    with ApiServer(tmp_path / "api", controller_manager=True) as server:
        kube = Kube(server.kubeconfig)
        _namespace(kube, "team-a")
        operator = OperatorProcess(server.kubeconfig, tmp_path / "log")
        operator.begin()
        with operator:
            wait_until(lambda: "install the CRD" in operator.tail(), "the operator to miss its CRD")
            kube.create(custom_resource_definition(SCHEMES))
            wait_until(operator.is_ready, "the operator to be ready")
            scene = ModelFixture(kube, "team-a")
            scene.create(source.url)
            scene.wait_for("Ready", "False", "Preparing")


def test_it_ends_in_time_and_well_when_asked(own_api: ApiServer, tmp_path: Path) -> None:
    process = OperatorProcess(own_api.kubeconfig, tmp_path / "log")
    process.start()
    began = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - began < 10
