"""The operator with the rights of its chart, in some namespaces only, and through an outage of the API."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import build
from cluster.apiserver import ApiServer
from kube import Kube, Object, wait_until
from operator_process import OperatorProcess
from scene import Scene
from source import Source

from keras_api.crd import custom_resource_definition

ROOT = Path(__file__).resolve().parents[3]
RBAC = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def _namespace(kube: Kube, name: str) -> str:
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def _chart(*options: str) -> list[Object]:
    helm = build.ensure(["helm"])["helm"]
    command = [helm, "template", "keras-operator", ROOT / "charts/keras-operator", "-n", "keras-system", *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return [obj for obj in yaml.safe_load_all(output) if obj]


def _login(kube: Kube, server: ApiServer, folder: Path) -> Path:
    """A kubeconfig with the token of the chart's ServiceAccount."""
    token = kube.token("keras-system", "keras-operator")
    config: dict[str, Any] = yaml.safe_load(server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def _forbidden(operator: OperatorProcess) -> list[str]:
    """Requests that were refused for want of rights."""
    return [name for name in operator.metrics() if 'code="403"' in name]


@pytest.mark.parametrize(
    ("options", "works_elsewhere"),
    [((), True), (("--set=watchNamespaces={team-a}",), False)],
    ids=["cluster-wide", "one namespace"],
)
def test_the_rights_of_the_chart_are_enough(
    own_api: ApiServer,
    own_kube: Kube,
    source: Source,
    tmp_path: Path,
    options: tuple[str, ...],
    works_elsewhere: bool,
) -> None:
    for name in ("keras-system", "team-a", "team-b"):
        _namespace(own_kube, name)
    for obj in _chart(*options):
        if obj["kind"] in RBAC:
            own_kube.create(obj)
    login = _login(own_kube, own_api, tmp_path)
    settings = {"lease": "keras-system/keras-operator"}
    settings |= {} if works_elsewhere else {"watch_namespaces": "team-a"}
    with OperatorProcess(login, tmp_path / "log", pod_name="before", **settings) as operator:
        assert _forbidden(operator) == []
    with OperatorProcess(login, tmp_path / "log", pod_name="after", **settings) as operator:
        here, elsewhere = Scene(own_kube, "team-a"), Scene(own_kube, "team-b")
        elsewhere.create(source.url)
        here.serve(source.url, replicas=1)
        here.kube.delete("deployments", "team-a", "digits")
        here.wait_for_child("deployments")
        events = [each["reason"] for each in own_kube.list("events", "team-a") if each["reason"] == "Serving"]
        assert events == ["Serving"]
        lease = own_kube.get("leases", "keras-system", "keras-operator")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == "after"
        assert bool(elsewhere.status()) is works_elsewhere
        assert _forbidden(operator) == []


def test_a_missing_right_is_named(own_api: ApiServer, own_kube: Kube, source: Source, tmp_path: Path) -> None:
    _namespace(own_kube, "keras-system")
    _namespace(own_kube, "team-a")
    for obj in _chart():
        if obj["kind"] in RBAC:
            for rule in obj.get("rules") or []:
                if "services" in rule["resources"]:
                    rule["resources"].remove("services")
                    obj["rules"].append(
                        {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]}
                    )
                    break
            own_kube.create(obj)
    with OperatorProcess(_login(own_kube, own_api, tmp_path), tmp_path / "log"):
        scene = Scene(own_kube, "team-a")
        scene.create(source.url)
        message = scene.wait_for("Ready", "False", "Forbidden")["message"]
        assert "may not patch services" in message or "may not create services" in message
        assert scene.child("serviceaccounts") is not None


def test_an_outage_of_the_api_is_survived(own_api: ApiServer, own_kube: Kube, source: Source, tmp_path: Path) -> None:
    _namespace(own_kube, "team-a")
    with OperatorProcess(own_api.kubeconfig, tmp_path / "log") as operator:
        scene = Scene(own_kube, "team-a")
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
            kube.create(custom_resource_definition())
            wait_until(operator.is_ready, "the operator to be ready")
            scene = Scene(kube, "team-a")
            scene.create(source.url)
            scene.wait_for("Ready", "False", "Preparing")


def test_it_ends_in_time_and_well_when_asked(own_api: ApiServer, tmp_path: Path) -> None:
    process = OperatorProcess(own_api.kubeconfig, tmp_path / "log")
    process.start()
    began = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - began < 10
