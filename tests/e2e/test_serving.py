"""Serving: from `kubectl apply` to predictions, and the status of the resource."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from urllib.request import Request, urlopen

import kubectl as k8s
import pytest
import s3
from keras_models import Client, Model, fetch, post, until

ROOT = Path(__file__).resolve().parents[2]


def read_digits(path: Path, count: int | None = None) -> tuple[list, list[int]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))[:count]
    return [[[[float(r[f"pixel{8 * y + x}"])] for x in range(8)] for y in range(8)] for r in rows], [
        int(r["label"]) for r in rows
    ]


def argmax(row: list[float]) -> int:
    return max(range(len(row)), key=row.__getitem__)


@pytest.fixture(scope="module")
def served(namespace, bucket, files):
    """The digits model of the example, Ready with two replicas."""
    k8s.apply(s3.reader_secret(), namespace=namespace)
    model = Model("digits", namespace, bucket)
    data = model.upload(files / "digits-test.csv", "digits-test.csv")
    model.apply(
        model.upload(files / "digits.keras"),
        source={"pollInterval": "10s"},
        validation={"data": data, "require": [{"metric": "accuracy", "min": "0.95"}]},
        serving={"replicas": 2},
    )
    model.wait_ready()
    return model


def test_a_served_model_recognises_the_held_out_digits(served, files):
    images, labels = read_digits(files / "digits-test.csv")
    with served.forward() as url:
        answers = [argmax(row) for row in served.predict(url, images)]
    right = sum(a == b for a, b in zip(answers, labels, strict=True))
    assert right / len(labels) >= 0.95


def test_open_inference_protocol_gives_the_same_answers(served, files):
    images, _ = read_digits(files / "digits-test.csv", count=16)
    with served.forward() as url:
        assert fetch(url)["model"] == "digits"
        assert fetch(f"{url}/v2")["name"] == "keras-server"
        signature = fetch(f"{url}/v2/models/digits")["inputs"][0]
        assert (signature["name"], signature["datatype"], signature["shape"]) == ("pixels", "FP32", [-1, 8, 8, 1])
        tensor = {"name": "pixels", "datatype": "FP32", "shape": [16, 8, 8, 1], "data": images}
        (output,) = post(f"{url}/v2/models/digits/infer", {"inputs": [tensor]})["outputs"]
        predictions = served.predict(url, images)
    assert output["shape"] == [16, 10]
    flat = [value for row in predictions for value in row]
    assert output["data"] == pytest.approx(flat, abs=1e-6)


def test_every_field_of_status_is_set_and_true(served):
    status = served.status
    assert status["url"] == f"http://digits.{served.namespace}.svc:8080"
    assert status["servingRevision"] == status["desiredRevision"] == status["history"][0]["revision"]
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)
    model = status["model"]
    assert model["runtime"] == "onnxruntime"
    assert model["inputs"] == [{"name": "pixels", "dtype": "float32", "shape": [-1, 8, 8, 1]}]
    assert float(model["metrics"]["accuracy"]) >= 0.95
    assert float(model["parity"]["maxAbsError"]) < 1e-5
    conditions = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    assert conditions == {
        "Ready": ("True", "Serving"),
        "Available": ("True", "Serving"),
        "ModelPrepared": ("True", "Prepared"),
        "MonitoringReady": ("True", "ServiceMonitorApplied"),
        "Reconciling": ("False", "Serving"),
        "Stalled": ("False", "Progressing"),
    }


def test_kubectl_get_prints_one_line(served):
    heading, line = k8s.kubectl("get", "km", "-n", served.namespace).splitlines()
    assert heading.split() == ["NAME", "READY", "STATUS", "REVISION", "RUNTIME", "REPLICAS", "URL", "AGE"]
    assert line.split()[:3] == ["digits", "True", "Serving"]


def test_all_children_are_owned_and_labelled(served):
    for kind in ("serviceaccount", "deployment", "service", "servicemonitor"):
        child = k8s.get(kind, "digits", served.namespace)
        assert child, f"no {kind}"
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("KerasModel", "digits", True)
        assert child["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "keras-operator"


def test_prometheus_scrapes_the_model_through_its_service_monitor(served, files):
    with served.forward() as url:
        served.predict(url, read_digits(files / "digits-test.csv", count=4)[0])
    query = f'sum(keras_server_requests_total%7Bnamespace="{served.namespace}",service="digits"%7D)'
    with k8s.port_forward("service/prometheus", "monitoring", 9090) as prometheus:

        def scraped() -> bool:
            result = fetch(f"{prometheus}/api/v1/query?query={query}")["data"]["result"]
            return bool(result) and float(result[0]["value"][1]) >= 1

        until(scraped, "Prometheus has a sample", timeout=90)


@pytest.mark.skipif(not k8s.OWN_CLUSTER, reason="needs metrics-server, which not every cluster has")
def test_kubectl_top_shows_the_memory_of_the_servers(served):
    def has_metrics() -> bool:
        lines = k8s.kubectl("top", "pods", "-n", served.namespace, "--no-headers", check=False).splitlines()
        return sum(line.startswith("digits-") and line.endswith("Mi") for line in map(str.strip, lines)) >= 2

    until(has_metrics, "metrics of both servers", timeout=120)


def test_kubectl_scale_changes_the_replicas(served):
    k8s.kubectl("scale", "kerasmodel", "digits", "--replicas=1", "-n", served.namespace)
    until(lambda: served.status.get("readyReplicas") == 1, "one replica is ready")
    served.wait_ready()
    k8s.kubectl("scale", "kerasmodel", "digits", "--replicas=2", "-n", served.namespace)
    until(lambda: served.status.get("readyReplicas") == 2, "two replicas are ready")
    served.wait_ready()


@pytest.mark.skipif(not k8s.OWN_CLUSTER, reason="needs a port of the node on this machine")
def test_a_new_file_is_rolled_out_without_a_failed_request(served, files):
    before = served.status["servingRevision"]
    images, _ = read_digits(files / "digits-test.csv", count=1)
    with served.node_port() as url, Client(served, url, images) as client:
        served.upload(files / "digits-again.keras")
        until(lambda: served.status["servingRevision"] not in ("", before), "the new revision is served", timeout=180)
        served.wait_ready()
        answered = client.answers
        until(lambda: client.answers > answered + 20, "the new pods answer")
    assert client.failures == []
    assert [entry["revision"] for entry in served.status["history"]][1] == before


@pytest.mark.skipif(not k8s.OWN_CLUSTER, reason="needs this machine's registry, and a port of the node")
def test_the_operator_is_upgraded_under_load_without_a_failed_request(served, files):
    """The next revision is being prepared when the new operator takes over, and rolls out its images."""
    first, old = served.status["servingRevision"], operator_pods()
    tag = retag_images()
    images, _ = read_digits(files / "digits-test.csv", count=1)
    with served.node_port() as url, Client(served, url, images) as client:
        spec = {"spec": {"serving": {"runtime": "onnxruntime"}}}
        k8s.kubectl("patch", "km", "digits", "-n", served.namespace, "--type=merge", "-p", json.dumps(spec))
        until(lambda: served.status["desiredRevision"] != first and jobs_of(served), "the next revision's Job")
        (job,) = jobs_of(served)
        assert "completionTime" not in job["status"]
        k8s.run(str(ROOT / "hack/install.sh"), "--set-string", f"image.tag={tag}", timeout=200)
        until(lambda: len(operator_pods() - old) == 1 == len(operator_pods()), "the old operator has ended")
        until(lambda: images_of(served) == [tag, tag], "both pods are replaced", timeout=120)
        served.wait_ready()
        answered = client.answers
        until(lambda: client.answers > answered + 20, "the new pods answer")
    assert client.failures == []
    lease = k8s.get("lease", "keras-operator", "keras-system")
    assert lease
    assert {lease["spec"]["holderIdentity"]} == operator_pods()
    assert served.status["servingRevision"] == served.status["desiredRevision"] != first
    assert [each["metadata"]["uid"] for each in jobs_of(served)] == [job["metadata"]["uid"]], "there is one Job only"
    old_sets = [each for each in k8s.get_list("replicaset", served.namespace) if each["spec"]["replicas"]]
    assert len(old_sets) == 1, "no ReplicaSet with the old images has replicas"


def operator_pods() -> set[str]:
    pods = k8s.get_list("pod", "keras-system", "app.kubernetes.io/component=operator")
    return {pod["metadata"]["name"] for pod in pods}


def jobs_of(model: Model) -> list[dict]:
    """Jobs of the desired revision."""
    return k8s.get_list("job", model.namespace, f"keras-operator.dev/revision={model.status['desiredRevision']}")


def images_of(model: Model) -> list[str]:
    """Tags of the serving pods' images."""
    pods = k8s.get_list(
        "pod", model.namespace, f"keras-operator.dev/model={model.name},app.kubernetes.io/component=server"
    )
    return [pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in pods]


def retag_images() -> str:
    """Give the installed images another tag. Returns it."""
    operator = k8s.get("deployment", "keras-operator", "keras-system")
    assert operator
    registry, path, tag = re.fullmatch(
        "([^/]+)/(.+)/operator:(.+)", operator["spec"]["template"]["spec"]["containers"][0]["image"]
    ).groups()
    again = tag.removesuffix("-again") if tag.endswith("-again") else f"{tag}-again"
    for image in ("operator", "server", "pipeline"):
        url = f"http://{registry}/v2/{path}/{image}/manifests"
        kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
        with urlopen(Request(f"{url}/{tag}", headers={"Accept": kinds}), timeout=30) as reply:
            manifest, kind = reply.read(), reply.headers["Content-Type"]
        request = Request(f"{url}/{again}", manifest, {"Content-Type": kind}, method="PUT")
        with urlopen(request, timeout=30) as reply:
            assert reply.status == 201
    return again


def test_a_rejected_model_never_replaces_the_served_one(served, files):
    before = served.status["servingRevision"]
    images, _ = read_digits(files / "digits-test.csv", count=1)
    with served.forward() as url, Client(served, url, images) as client:
        served.upload(files / "lambda.keras")  # at the same address: the poll detects it
        condition = served.wait_reason("Stalled", "ModelUnsafe")
    assert "twice" in condition["message"], "the message names the layer"
    assert served.status["servingRevision"] == before
    assert served.condition("Available")["status"] == "True"
    assert served.condition("Ready")["status"] == "False"
    assert served.status["lastFailure"]["step"] == "prepare"
    assert client.answers > 0
    assert client.failures == []


def test_a_service_monitor_is_removed_and_created_with_its_crd(served):
    name = "servicemonitors.monitoring.coreos.com"
    definition = json.loads(k8s.kubectl("get", "crd", name, "-o", "json"))
    for field in ("uid", "resourceVersion", "creationTimestamp", "generation"):
        del definition["metadata"][field]
    try:
        k8s.kubectl("delete", "crd", name, "--timeout=60s")
        condition = served.wait_reason("MonitoringReady", "ServiceMonitorCRDMissing", timeout=20)
        assert "monitoring.coreos.com/v1" in condition["message"]
    finally:
        k8s.kubectl("create", "-f", "-", stdin=json.dumps(definition))
    served.wait_reason("MonitoringReady", "ServiceMonitorApplied", timeout=30)
    assert k8s.get("servicemonitor", "digits", served.namespace)
    assert served.condition("Available")["status"] == "True"


def test_deleting_the_model_removes_every_child(served):
    served.delete()
    for kind in ("serviceaccount", "deployment", "service", "servicemonitor", "job"):
        until(
            lambda kind=kind: k8s.get_list(kind, served.namespace, "app.kubernetes.io/managed-by=keras-operator") == [],
            f"no {kind} is left",
        )
