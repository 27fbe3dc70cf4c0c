"""The chart's roles beside what the operator really asks for, as the API server's own audit log has it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from chart import ACCOUNT, NAMESPACE, login, roles
from cluster.apiserver import SERVICE_MONITOR_CRD, ApiServer
from fault_source import Source
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

from keras_api.crd import custom_resource_definition
from keras_store.sources.registry import SCHEMES

USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
OURS = {"app.kubernetes.io/managed-by": None}
CHILDREN = ("serviceaccounts", "services", "deployments", "servicemonitors")


class Right(NamedTuple):
    group: str
    resource: str
    """Plural, with the subresource if there is one: ``pods/log``."""
    verb: str


# Granted although no scene below makes the operator ask for it, and why.
NOT_ASKED_FOR_HERE = {
    # A cluster may want it of whoever makes children that block their owner's deletion; it is no request.
    Right("keras-operator.dev", "kerasmodels/finalizers", "update"),
    # When a status is refused, to tell whether the model is gone: tests/integration/operator/test_interruptions.py.
    Right("keras-operator.dev", "kerasmodels", "get"),
}


class Audited:
    """A new API server that writes down what one account asks for."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "audit.log"
        policy = folder / "audit-policy.json"
        rules = [{"level": "Metadata", "users": [USER]}, {"level": "None"}]
        policy.write_text(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))
        flags = [f"--audit-policy-file={policy}", f"--audit-log-path={self._log}"]
        self.server = ApiServer(folder / "api", controller_manager=True, flags=flags)

    def asked(self) -> set[Right]:
        """What was asked for and granted. Applying what is not there yet takes the right to create it, too."""
        found = set()
        for code, right in self._requests():
            if code != 403:
                found |= {right, right._replace(verb="create")} if (right.verb, code) == ("patch", 201) else {right}
        return found

    def refused(self) -> set[Right]:
        """What was asked for in vain."""
        return {right for code, right in self._requests() if code == 403}

    def _requests(self) -> Iterator[tuple[int, Right]]:
        for line in self._log.read_text().splitlines():
            event = json.loads(line)
            about = event.get("objectRef", {})  # none: discovery, which everybody may do
            if "resource" in about and "responseStatus" in event:
                resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
                yield event["responseStatus"]["code"], Right(about.get("apiGroup", ""), resource, event["verb"])


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[Audited]:
    audited = Audited(tmp_path)
    with audited.server as server:
        kube = Kube(server.kubeconfig)
        kube.create(custom_resource_definition(SCHEMES))
        kube.create(SERVICE_MONITOR_CRD)
        wait_until(lambda: kube.serves("/apis/keras-operator.dev/v1alpha1"), "the CRD to be served")
        for name in (NAMESPACE, "team-a", "team-b"):
            kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        yield audited


def _granted(objects: Iterable[Object]) -> set[Right]:
    """What the roles allow that are bound to the operator's account."""
    bound = {
        (obj["roleRef"]["kind"], obj["roleRef"]["name"])
        for obj in objects
        if any(subject["name"] == ACCOUNT for subject in obj.get("subjects", []))
    }
    return {
        Right(group, resource, verb)
        for obj in objects
        if (obj["kind"], obj["metadata"]["name"]) in bound
        for rule in obj["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize(
    ("options", "works_elsewhere"),
    [((), True), (("--set=watchNamespaces={team-a}",), False)],
    ids=["cluster-wide", "one namespace"],
)
def test_the_chart_grants_what_the_operator_asks_for_and_nothing_else(
    audited: Audited, source: Source, tmp_path: Path, options: tuple[str, ...], works_elsewhere: bool
) -> None:
    kube = Kube(audited.server.kubeconfig)
    objects = roles(*options)
    for obj in objects:
        kube.create(obj)
    account = login(kube, audited.server, tmp_path)
    settings = {"lease": f"{NAMESPACE}/keras-operator"}
    settings |= {} if works_elsewhere else {"watch_namespaces": "team-a"}
    with OperatorProcess(account, tmp_path / "log", pod_name="before", **settings):
        pass
    with OperatorProcess(account, tmp_path / "log", pod_name="after", **settings):
        here, elsewhere = ModelFixture(kube, "team-a"), ModelFixture(kube, "team-b")
        elsewhere.create(source.url)
        _live(here, source, audited)
        lease = kube.get("leases", NAMESPACE, "keras-operator")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == "after"
        assert bool(elsewhere.status()) is works_elsewhere
    assert audited.refused() == set()
    assert sorted(_granted(objects) - audited.asked()) == sorted(NOT_ASKED_FOR_HERE)


def _live(scene: ModelFixture, source: Source, audited: Audited) -> None:
    """Let one model meet everything that makes the operator ask for something."""
    source.token = "s3cret"
    data = {"HTTP_BEARER_TOKEN": base64.b64encode(source.token.encode()).decode()}
    metadata = {"name": "reader", "namespace": scene.namespace}
    scene.kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    first = scene.serve(source.url, source={"secretRef": {"name": "reader"}})

    # Children that are lost from sight, or gone.
    for plural in CHILDREN:
        scene.kube.patch(plural, scene.namespace, "digits", {"metadata": {"labels": OURS}})
        wait_until(lambda plural=plural: _is_labelled(scene.child(plural)), f"the label of the {plural}")
    scene.kube.delete("deployments", scene.namespace, "digits")
    scene.wait_for_child("deployments")
    scene.kubelet.serves("digits")

    # A next revision: its Job is lost from sight, its pods are silent, and its server does not turn ready.
    scene.change(serving={"runtime": "onnxruntime"})
    second = wait_until(lambda: (found := scene.status()["desiredRevision"]) != first and found, "a next revision")
    job = f"digits-prepare-{second}"
    scene.wait_for_child("jobs", job)
    scene.kube.patch("jobs", scene.namespace, job, {"metadata": {"labels": OURS}})
    wait_until(lambda: _is_labelled(scene.child("jobs", job)), "the label of the Job")
    wait_until(lambda: Right("", "events", "list") in audited.asked(), "a look at the silent pod's events")
    scene.kubelet.prepares("digits", second)
    (server,) = scene.kubelet.server_pods("digits", revision=second)
    running = {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "ready": False, "restartCount": 0}
    scene.kubelet.says(
        server, phase="Running", containerStatuses=[{"name": "server", "image": "i", "imageID": "i", **running}]
    )
    scene.wait_for("Ready", "False", "NotReady")
    scene.kubelet.turns_ready(server)
    scene.wait_for("Ready", "True")

    # The pods of a next template are refused.
    scene.rule("ResourceQuota", {"hard": {"pods": "0"}})
    scene.change(serving={"podTemplate": {"metadata": {"labels": {"try": "again"}}}})
    scene.wait_for("Ready", "False", "PodRefused")

    # What has had its time is deleted.
    wait_until(lambda: scene.child("jobs", f"digits-prepare-{first}") is None, "the first revision's Job to go")
    scene.change(monitoring={"serviceMonitor": {"enabled": False}})
    wait_until(lambda: scene.child("servicemonitors") is None, "the ServiceMonitor to go")


def _is_labelled(child: Object | None) -> bool:
    return child is not None and OURS.keys() <= child["metadata"].get("labels", {}).keys()
