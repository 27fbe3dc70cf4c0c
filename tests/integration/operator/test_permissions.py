"""The chart's roles, compared with the operator's requests in the audit log of the API server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from chart import ACCOUNT, NAMESPACE, login, roles
from cluster.apiserver import SERVICE_MONITOR_CRD, ApiServer
from fault_source import FaultSource
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

from keras_api.crd import custom_resource_definition
from keras_store.sources.registry import SCHEMES

USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
MANAGED = {"app.kubernetes.io/managed-by": None}
CHILDREN = ("serviceaccounts", "services", "deployments", "servicemonitors")


class Permission(NamedTuple):
    group: str
    resource: str
    """Plural, with the subresource if there is one: ``pods/log``."""
    verb: str


# Rights that are granted, and not used in this test, with the reason.
NOT_EXERCISED = {
    # Some clusters require it of clients that create children that block their owner's deletion; it is no request.
    Permission("keras-operator.dev", "kerasmodels/finalizers", "update"),
    # After a rejected status, to check whether the model exists: tests/integration/operator/test_interruptions.py.
    Permission("keras-operator.dev", "kerasmodels", "get"),
}


class AuditedApiServer:
    """A new API server that logs the requests of one account."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "audit.log"
        policy = folder / "audit-policy.json"
        rules = [{"level": "Metadata", "users": [USER]}, {"level": "None"}]
        policy.write_text(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))
        flags = [f"--audit-policy-file={policy}", f"--audit-log-path={self._log}"]
        self.server = ApiServer(folder / "api", controller_manager=True, flags=flags)

    def used(self) -> set[Permission]:
        """The permissions that were used. To apply an object that does not exist needs the verb create, too."""
        found = set()
        for code, permission in self._requests():
            if code != 403:
                found.add(permission)
                if (permission.verb, code) == ("patch", 201):
                    found.add(permission._replace(verb="create"))
        return found

    def denied(self) -> set[Permission]:
        """The permissions of requests that were denied."""
        return {permission for code, permission in self._requests() if code == 403}

    def _requests(self) -> Iterator[tuple[int, Permission]]:
        for line in self._log.read_text().splitlines():
            event = json.loads(line)
            about = event.get("objectRef", {})  # none: discovery, which every account may do
            if "resource" in about and "responseStatus" in event:
                resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
                yield event["responseStatus"]["code"], Permission(about.get("apiGroup", ""), resource, event["verb"])


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[AuditedApiServer]:
    audited = AuditedApiServer(tmp_path)
    with audited.server as server:
        kube = Kube(server.kubeconfig)
        kube.create(custom_resource_definition(SCHEMES))
        kube.create(SERVICE_MONITOR_CRD)
        wait_until(lambda: kube.serves("/apis/keras-operator.dev/v1alpha1"), "the CRD to be served")
        for name in (NAMESPACE, "team-a", "team-b"):
            kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        yield audited


def _granted(objects: Iterable[Object]) -> set[Permission]:
    """The permissions in the roles that are bound to the operator's account."""
    bound = {
        (obj["roleRef"]["kind"], obj["roleRef"]["name"])
        for obj in objects
        if any(subject["name"] == ACCOUNT for subject in obj.get("subjects", []))
    }
    return {
        Permission(group, resource, verb)
        for obj in objects
        if (obj["kind"], obj["metadata"]["name"]) in bound
        for rule in obj["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize(
    ("options", "is_cluster_wide"),
    [((), True), (("--set=watchNamespaces={team-a}",), False)],
    ids=["cluster-wide", "one namespace"],
)
def test_the_chart_grants_exactly_the_permissions_that_the_operator_uses(
    audited: AuditedApiServer, source: FaultSource, tmp_path: Path, options: tuple[str, ...], is_cluster_wide: bool
) -> None:
    kube = Kube(audited.server.kubeconfig)
    objects = roles(*options)
    for obj in objects:
        kube.create(obj)
    account = login(kube, audited.server, tmp_path)
    settings = {"lease": f"{NAMESPACE}/keras-operator"}
    settings |= {} if is_cluster_wide else {"watch_namespaces": "team-a"}
    with OperatorProcess(account, tmp_path / "log", pod_name="before", **settings):
        pass
    with OperatorProcess(account, tmp_path / "log", pod_name="after", **settings):
        here, elsewhere = ModelFixture(kube, "team-a"), ModelFixture(kube, "team-b")
        elsewhere.create(source.url)
        _exercise(here, source, audited)
        lease = kube.get("leases", NAMESPACE, "keras-operator")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == "after"
        assert bool(elsewhere.status()) is is_cluster_wide
    assert audited.denied() == set()
    assert sorted(_granted(objects) - audited.used()) == sorted(NOT_EXERCISED)


def _exercise(model: ModelFixture, source: FaultSource, audited: AuditedApiServer) -> None:
    """Bring a model into every situation in which the operator sends another kind of request."""
    source.token = "s3cret"
    data = {"HTTP_BEARER_TOKEN": base64.b64encode(source.token.encode()).decode()}
    metadata = {"name": "reader", "namespace": model.namespace}
    model.kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    first = model.serve(source.url, source={"secretRef": {"name": "reader"}})

    # Children without the label of the watch, and a deleted child.
    for plural in CHILDREN:
        model.kube.patch(plural, model.namespace, "digits", {"metadata": {"labels": MANAGED}})
        wait_until(lambda plural=plural: _is_labelled(model.child(plural)), f"the label of the {plural}")
    model.kube.delete("deployments", model.namespace, "digits")
    model.wait_for_child("deployments")
    model.kubelet.make_servers_ready("digits")

    # Another revision: its Job loses the label, its pod does not start, and its server does not become ready.
    model.change(serving={"runtime": "onnxruntime"})
    second = wait_until(lambda: (found := model.status()["desiredRevision"]) != first and found, "another revision")
    job = f"digits-prepare-{second}"
    model.wait_for_child("jobs", job)
    model.kube.patch("jobs", model.namespace, job, {"metadata": {"labels": MANAGED}})
    wait_until(lambda: _is_labelled(model.child("jobs", job)), "the label of the Job")
    wait_until(lambda: Permission("", "events", "list") in audited.used(), "a lookup of the stuck pod's Events")
    model.kubelet.complete_prepare("digits", second)
    (server,) = model.kubelet.server_pods("digits", revision=second)
    running = {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "ready": False, "restartCount": 0}
    model.kubelet.set_status(
        server, phase="Running", containerStatuses=[{"name": "server", "image": "i", "imageID": "i", **running}]
    )
    model.wait_for("Ready", "False", "NotReady")
    model.kubelet.make_ready(server)
    model.wait_for("Ready", "True")

    # The pods of another template are rejected.
    model.rule("ResourceQuota", {"hard": {"pods": "0"}})
    model.change(serving={"podTemplate": {"metadata": {"labels": {"try": "again"}}}})
    model.wait_for("Ready", "False", "PodRefused")

    # Obsolete objects are deleted.
    wait_until(lambda: model.child("jobs", f"digits-prepare-{first}") is None, "the first revision's Job to be deleted")
    model.change(monitoring={"serviceMonitor": {"enabled": False}})
    wait_until(lambda: model.child("servicemonitors") is None, "the ServiceMonitor to be deleted")


def _is_labelled(child: Object | None) -> bool:
    return child is not None and MANAGED.keys() <= child["metadata"].get("labels", {}).keys()
