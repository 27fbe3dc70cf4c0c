"""The operator with a missing permission, during an API outage, before its CRD exists, and at shutdown."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from chart import login, roles
from cluster.apiserver import ApiServer
from fault_source import FaultSource
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
    """The chart's permissions except some verbs on a resource, which are granted when the context ends."""
    _namespace(kube, "keras-system")
    changed = []
    for obj in roles():
        reduced = copy.deepcopy(obj)
        if obj["kind"] == "ClusterRole":
            changed.append(obj)
            kept = []
            for rule in reduced["rules"]:
                for each in rule["resources"]:
                    allowed = [verb for verb in rule["verbs"] if each != resource or verb not in verbs]
                    kept.append({**rule, "resources": [each], "verbs": allowed})
            reduced["rules"] = [rule for rule in kept if rule["verbs"]]
        kube.create(reduced)
    yield
    for role in changed:
        kube.patch("clusterroles", "", role["metadata"]["name"], {"rules": role["rules"]})


@pytest.mark.parametrize(
    ("resource", "verbs", "message_part"),
    [
        ("services", {"create", "patch"}, "has no permission to patch services:"),
        ("pods", {"list", "watch"}, "has no permission to list pods:"),
        ("pods", {"watch"}, "has no permission to watch pods:"),
        ("deployments", {"list"}, "has no permission to list deployments.apps:"),
    ],
    ids=["write", "list and watch", "watch", "list"],
)
def test_a_missing_permission_is_reported_and_used_once_granted(
    own_api: ApiServer,
    own_kube: Kube,
    source: FaultSource,
    tmp_path: Path,
    resource: str,
    verbs: set[str],
    message_part: str,
) -> None:
    _namespace(own_kube, "team-a")
    model = ModelFixture(own_kube, "team-a")
    with ExitStack() as stack:
        with _without(own_kube, resource, verbs):
            account = login(own_kube, own_api, tmp_path)
            operator = stack.enter_context(OperatorProcess(account, tmp_path / "log"))
            model.create(source.url)
            message = model.wait_for("Ready", "False", "Forbidden")["message"]
            assert message_part in message
            wait_until(lambda: model.child("serviceaccounts"), "the children that may be applied")
        model.kubelet.complete_prepare("digits")
        model.kubelet.make_servers_ready("digits")
        model.wait_for("Ready", "True", "Serving")
        assert operator.is_ready(), "the same process continues"


def test_the_operator_survives_an_api_outage(
    own_api: ApiServer, own_kube: Kube, source: FaultSource, tmp_path: Path
) -> None:
    _namespace(own_kube, "team-a")
    with OperatorProcess(own_api.kubeconfig, tmp_path / "log") as operator:
        model = ModelFixture(own_kube, "team-a")
        model.serve(source.url)
        before = operator.applies()
        own_api.stop()
        time.sleep(3)
        own_api.start()
        model.change(serving={"replicas": 2})
        wait_until(lambda: model.wait_for_child("deployments")["spec"]["replicas"] == 2, "the change", timeout=60)
        model.kubelet.make_servers_ready("digits", 2)
        model.wait_for("Ready", "True", "Serving")
        applied = operator.applies() - before
        # Deleted children are created again: a garbage collector that starts before the API serves KerasModels may
        # treat them as deleted. Children that exist are not applied again.
        needless = {kind: count for kind, count in applied.items() if kind[1] != "missing"}
        assert needless == {("Deployment", "changed"): 1}


def test_the_operator_can_start_before_its_crd_exists(tmp_path: Path, source: FaultSource) -> None:
    with ApiServer(tmp_path / "api", controller_manager=True) as server:
        kube = Kube(server.kubeconfig)
        _namespace(kube, "team-a")
        operator = OperatorProcess(server.kubeconfig, tmp_path / "log")
        operator.launch()
        with operator:
            wait_until(lambda: "install the CRD" in operator.tail(), "the operator to report the missing CRD")
            kube.create(custom_resource_definition(SCHEMES))
            wait_until(operator.is_ready, "the operator to be ready")
            model = ModelFixture(kube, "team-a")
            model.create(source.url)
            model.wait_for("Ready", "False", "Preparing")


def test_sigterm_ends_the_process_in_time_and_with_exit_code_zero(own_api: ApiServer, tmp_path: Path) -> None:
    process = OperatorProcess(own_api.kubeconfig, tmp_path / "log")
    process.start()
    began = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - began < 10
