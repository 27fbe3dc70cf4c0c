"""Failures on a real cluster: status reports culprit and remedy in seconds, and the served revision is not affected.

One model is served, and a client sends requests to it all the time, which must not fail while faults are injected.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import kubectl as k8s
import pytest
import s3
from environment_faults import (
    SYSTEM,
    applied_form,
    apply_as_helm,
    evict,
    foreign_service,
    full_store,
    labelled,
    limit_range,
    prepare_memory_policy,
    quota,
    rule,
    stopped_store,
    unbound_claim,
    unresponsive_store,
)
from evidence import (
    attempt,
    desired_revision,
    fetching_pod,
    is_failed,
    operator_pod,
    prepare_jobs,
    prepare_pods,
    remaining_server,
    restarts,
    seconds_until_reported,
    uids,
    warnings,
)
from fault_source import run_fault_source
from keras_models import Client, Model, until

sys.path.append(str(Path(__file__).parents[1] / "unit/keras_pipeline"))
import test_model_file as model_files

# A failure that is visible in the cluster must be in the status within this time.
REPORT_SECONDS = 10
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def served(namespace, bucket, files) -> Model:
    """The digits model, Ready with one replica."""
    k8s.apply(s3.reader_secret(), namespace=namespace)
    model = Model("digits", namespace, bucket)
    model.apply(model.upload(files / "digits.keras"), serving={"replicas": 1})
    model.wait_ready()
    return model


@pytest.fixture(scope="module")
def client(served) -> Iterator[Client]:
    """Sends requests to the served model until the module ends."""
    image = [[[[0.0]] * 8] * 8]
    with ExitStack() as stack:
        # A forwarded port leads to one pod, which stays the same until a rollout succeeds.
        url = stack.enter_context(served.node_port() if k8s.OWN_CLUSTER else served.forward())
        yield stack.enter_context(Client(served, url, image, pause=0.1))


@pytest.fixture
def uninterrupted(served, client) -> Iterator[None]:
    """During the test the old revision answers every request, and status reports it as available."""
    revision, answered = served.status["servingRevision"], client.answers
    yield
    until(lambda: client.answers > answered, "an answer for the client")
    assert client.failures == []
    assert served.status["servingRevision"] == revision
    assert served.condition("Available")["status"] == "True"


class Fault(NamedTuple):
    """Settings with which the rollout fails, and the failure in status."""

    serving: Callable[[str], dict[str, Any]]
    """Fields of spec.serving; the argument is the name of the server's image."""
    reason: str
    message_parts: list[str]


def pod_spec(**fields: Any) -> Callable[[str], dict[str, Any]]:
    return lambda _: {"podTemplate": {"spec": fields}}


def server(**fields: Any) -> Callable[[str], dict[str, Any]]:
    return pod_spec(containers=[{"name": "server", **fields}])


# Every Python program imports this at its start, and reads golden outputs that no model returns.
TAMPERING = """
import numpy
original = numpy.load
class Tampered:
    def __init__(self, *arguments, **options): self.golden = original(*arguments, **options)
    def __enter__(self): return self
    def __exit__(self, *error): self.golden.close()
    files = property(lambda self: self.golden.files)
    def __getitem__(self, key): return self.golden[key] + 1 if key.startswith('output:') else self.golden[key]
numpy.load = Tampered
"""
TAMPER = f"open('/tmp/sitecustomize.py', 'w').write({TAMPERING!r})"


def tampered(image: str) -> dict[str, Any]:
    """The server reads golden outputs that differ from those of its bundle."""
    container = {
        "name": "tamper",
        "image": image,
        "command": ["python", "-c", TAMPER],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": RESTRICTED,
    }
    path = {"name": "PYTHONPATH", "value": "/tmp:/code"}
    return pod_spec(initContainers=[container], containers=[{"name": "server", "env": [path]}])(image)


ROLLOUT_FAULTS = {
    "an image that cannot be pulled": Fault(
        server(image="127.0.0.1:5000/keras-operator/server:missing"),
        "ImagePullFailed",
        ["keras-operator/server:missing", "not found", "check the image's name"],
    ),
    "more CPU than any node has": Fault(
        lambda _: {"resources": {"requests": {"cpu": "1000"}}},
        "Unschedulable",
        ["Insufficient cpu", "lower the requests in spec.serving"],
    ),
    "a missing node": Fault(
        pod_spec(nodeSelector={"accelerator": "gpu"}),
        "Unschedulable",
        ["didn't match Pod's node affinity/selector", "add or free a node"],
    ),
    "privileges that Pod Security rejects": Fault(
        server(securityContext={"allowPrivilegeEscalation": True}),
        "PodRefused",
        ['violates PodSecurity "restricted', "allowPrivilegeEscalation", "change that rule or quota"],
    ),
    "too little memory": Fault(
        lambda _: {"resources": {"limits": {"memory": "40Mi"}}},
        "OutOfMemory",
        ["container server", "increase spec.serving.resources.limits.memory"],
    ),
    "a server that crashes": Fault(
        server(command=["python", "-c", "import sys; sys.exit('the weights file is invalid')"]),
        "CrashLoop",
        ["container server", "exited with 1: the weights file is invalid"],
    ),
    "a missing Secret": Fault(
        server(envFrom=[{"secretRef": {"name": "missing"}}]),
        "SecretNotFound",
        ["container server", 'secret "missing" not found'],
    ),
    "a volume that cannot be mounted": Fault(
        pod_spec(
            volumes=[{"name": "extra", "configMap": {"name": "missing"}}],
            containers=[{"name": "server", "volumeMounts": [{"name": "extra", "mountPath": "/extra"}]}],
        ),
        "VolumeUnavailable",
        ['configmap "missing" not found'],
    ),
    "a server that never becomes ready": Fault(
        tampered, "NotReady", ["container server", "warm-up failed: output 'digit' differs", "kubectl logs"]
    ),
}


@pytest.fixture(scope="module")
def server_image() -> str:
    """The image of fetch, put and the server."""
    operator = k8s.get("deployment", "keras-operator", SYSTEM)
    assert operator
    env = operator["spec"]["template"]["spec"]["containers"][0]["env"]
    return next(each["value"] for each in env if each["name"] == "KERAS_OPERATOR_SERVER_IMAGE")


@pytest.fixture(scope="module")
def fault_address(new_namespace, server_image) -> Callable[[str], str]:
    """Makes addresses of the fault source, which `hangs` or `floods`; each is another file."""
    namespace = new_namespace()
    run_fault_source(namespace, server_image)
    return lambda fault: f"http://fault-source.{namespace}.svc:8080/{fault}/{uuid.uuid4().hex[:6]}.keras"


@pytest.fixture(scope="module", autouse=True)
def memory_policy() -> Iterator[None]:
    """In namespaces labelled `prepare-memory: low`, the container `prepare` gets 24 MiB, whatever it requests."""
    policy = prepare_memory_policy()
    k8s.apply(*policy)
    yield
    for each in policy:
        k8s.kubectl("delete", each["kind"], each["metadata"]["name"])


def test_a_service_of_another_owner_is_reported_and_never_taken_over(namespace, bucket, fault_address):
    model = Model("taken", namespace, bucket)
    k8s.apply(foreign_service("taken"), namespace=namespace)
    model.apply(fault_address("hangs"))
    failure = model.wait_failure("NameConflict")
    assert "Service taken exists and was not created by this operator: rename the KerasModel" in failure["message"]
    service = k8s.get("service", "taken", model.namespace)
    assert service
    assert "ownerReferences" not in service["metadata"]
    assert service["spec"]["ports"][0]["port"] == 9999
    assert "url" not in model.status or model.status["url"] == ""
    model.delete()


@pytest.mark.usefixtures("uninterrupted")
@pytest.mark.parametrize(
    ("name", "message_part"),
    [
        ("unclaimed", 'persistentvolumeclaim "unclaimed" not found'),
        ("unbound", "unbound immediate PersistentVolumeClaims"),
    ],
)
def test_a_missing_or_unbound_claim_is_reported(served, name, message_part):
    k8s.apply(unbound_claim("unbound"), namespace=served.namespace)
    before = change_source(served, f"pvc://{name}/model.keras")
    failure = served.wait_failure("VolumeUnavailable")
    assert message_part in failure["message"]
    assert "create that claim, with a volume that it can be bound to, or correct its name" in failure["message"]
    assert seconds_until_reported(served, failure, before) <= REPORT_SECONDS


@pytest.mark.usefixtures("uninterrupted")
def test_a_deleted_prepare_pod_is_reported_and_the_job_is_retried(served, fault_address):
    before = change_source(served, fault_address("hangs"))
    k8s.kubectl("delete", "pod", fetching_pod(served), "-n", served.namespace)
    failure = served.wait_failure("PrepareFailed")
    assert f"Job digits-prepare-{desired_revision(served)}" in failure["message"]
    assert seconds_until_reported(served, failure, before) <= REPORT_SECONDS
    assert served.condition("Reconciling")["status"] == "True"
    until(lambda: attempt(served) == 2, "another attempt")


@pytest.mark.usefixtures("uninterrupted")
def test_a_drained_prepare_pod_is_replaced_without_a_failure(served, fault_address):
    change_source(served, fault_address("hangs"))
    pod, failure = fetching_pod(served), served.status.get("lastFailure")
    (job,) = prepare_jobs(served)
    evict(pod, served.namespace)
    until(lambda: fetching_pod(served) != pod, "another pod")
    assert [each["metadata"]["uid"] for each in prepare_jobs(served)] == [job["metadata"]["uid"]]
    assert served.condition("Ready")["reason"] == "Preparing"
    assert served.status.get("lastFailure") == failure


@pytest.mark.usefixtures("uninterrupted")
def test_a_prepare_job_past_its_deadline_is_reported_with_its_last_activity(served, fault_address):
    before = change_source(served, fault_address("hangs"))
    fetching_pod(served)
    (job,) = prepare_jobs(served)
    patch = json.dumps({"spec": {"activeDeadlineSeconds": 1}})
    k8s.kubectl("patch", "job", job["metadata"]["name"], "-n", served.namespace, "--type=merge", "-p", patch)
    failure = served.wait_failure("DeadlineExceeded", kind="Stalled")
    assert "container fetch" in failure["message"]
    assert "was still downloading http://fault-source" in failure["message"]
    assert seconds_until_reported(served, failure, before) <= REPORT_SECONDS
    until(lambda: prepare_pods(served) == [], "the deletion of the Job's pod")
    until(lambda: is_failed(prepare_jobs(served)[0]), "the Job has ended")
    assert served.status["lastFailure"] == failure, "the failure is kept after the pod is deleted"


@pytest.mark.usefixtures("uninterrupted")
@pytest.mark.parametrize("fault", ROLLOUT_FAULTS.values(), ids=ROLLOUT_FAULTS)
def test_the_cause_of_a_failed_rollout_is_reported_while_the_old_pods_serve(served, server_image, fault):
    before = uids(served.namespace)
    served.apply(served.address(), serving={"replicas": 1, **fault.serving(server_image)})
    failure = served.wait_failure(fault.reason)
    assert failure["step"] == "serve"
    for part in fault.message_parts:
        assert part in failure["message"]
    assert seconds_until_reported(served, failure, before) <= REPORT_SECONDS


@pytest.mark.usefixtures("uninterrupted")
def test_a_quota_that_rejects_the_new_pod_is_reported_while_the_old_one_serves(served):
    with rule(quota(pods=1), served.namespace):
        until(lambda: k8s.get("resourcequota", "pods", served.namespace)["status"].get("used"), "the quota is active")
        assert_next_pod_is_rejected(served, "exceeded quota: pods, requested: pods=1")


@pytest.mark.usefixtures("uninterrupted")
def test_a_limit_range_that_rejects_the_new_pod_is_reported_while_the_old_one_serves(served):
    with rule(limit_range(min={"cpu": "2"}), served.namespace):
        assert_next_pod_is_rejected(served, "minimum cpu usage per Container is 2, but request is 100m")


def assert_next_pod_is_rejected(served: Model, message_part: str) -> None:
    before = uids(served.namespace)
    labels = {"because": f"{crc32(message_part.encode()):x}"}
    served.apply(served.address(), serving={"replicas": 1, "podTemplate": {"metadata": {"labels": labels}}})
    failure = served.wait_failure("PodRefused")
    assert message_part in failure["message"]
    assert "change that rule or quota" in failure["message"]
    assert seconds_until_reported(served, failure, before) <= REPORT_SECONDS


OTHER_DIGEST = f"sha256:{'0' * 64}"
WRONG_SOURCES = {
    "a host that does not resolve": (
        {"uri": "http://no-such-host.invalid/model.keras"},
        "SourceUnreachable",
        ["http://no-such-host.invalid/model.keras: the host does not resolve", "DNS and network policies"],
    ),
    "a closed port": (
        {"uri": "http://127.0.0.1:9/model.keras"},
        "SourceUnreachable",
        ["http://127.0.0.1:9/model.keras: no connection (Connection refused)"],
    ),
    "a missing bucket": (
        {"uri": "s3://nowhere/model.keras"},
        "SourceNotFound",
        ["s3://nowhere/model.keras", "the bucket does not exist"],
    ),
    "a missing Secret": (
        {"uri": "s3://models/model.keras", "secretRef": {"name": "absent"}},
        "SecretNotFound",
        ["Secret absent", "does not exist: create it"],
    ),
    "a Secret without the keys": (
        {"uri": "s3://models/model.keras", "secretRef": {"name": "keyless"}},
        "SecretNotFound",
        ["Secret keyless", "has none of the keys AWS_ACCESS_KEY_ID"],
    ),
    "a digest that differs from the pinned one": (
        {"uri": "{own}", "digest": OTHER_DIGEST},
        "DigestMismatch",
        [f"spec.source.digest is {OTHER_DIGEST}", "correct the digest"],
    ),
}


@pytest.mark.usefixtures("uninterrupted")
@pytest.mark.parametrize(("source", "reason", "message_parts"), WRONG_SOURCES.values(), ids=WRONG_SOURCES)
def test_a_source_failure_is_reported_while_the_old_file_is_served(served, source, reason, message_parts):
    keyless = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keyless"}, "stringData": {"user": "jane"}}
    k8s.apply(keyless, namespace=served.namespace)
    uri = source["uri"].format(own=served.address())
    served.apply(uri, source={**source, "uri": uri}, serving={"replicas": 1})
    failure = served.wait_failure(reason)
    for part in message_parts:
        assert part in failure["message"]


REJECTED_FILES = {
    "truncated": ("ModelUnreadable", model_files.UNREADABLE["cut in half"][0], "the upload is incomplete"),
    "HDF5 called .keras": ("ModelUnreadable", model_files.UNREADABLE["HDF5 called .keras"][0], "must end in .h5"),
    "a decompression bomb": ("ModelUnsafe", model_files.UNSAFE["a bomb for weights"][0], "would unpack to"),
    "path traversal": ("ModelUnsafe", model_files.UNSAFE["a path upwards"][0], "outside its folder"),
    "os.system": ("ModelUnsafe", model_files.UNSAFE["os.system"][0], "'os.system'"),
    "a custom layer": (
        "ModelUnsupported",
        model_files.keras_file(model_files.sequential(model_files.UNSUPPORTED["a registered class"][0])),
        "'acme>Doubled' (layer 'twice')",
    ),
}


@pytest.mark.usefixtures("uninterrupted")
@pytest.mark.parametrize(("reason", "file", "message_part"), REJECTED_FILES.values(), ids=REJECTED_FILES)
def test_a_rejected_file_is_reported_while_the_old_one_is_served(served, reason, file, message_part):
    served.apply(served.upload(file, f"{crc32(file):x}.keras"), serving={"replicas": 1})
    failure = served.wait_failure(reason, kind="Stalled")
    assert failure["step"] == "prepare"
    assert message_part in failure["message"]


@pytest.mark.usefixtures("uninterrupted")
def test_a_model_below_its_bound_is_rejected_with_the_figures_while_the_old_one_is_served(served, files):
    data = served.upload(files / "digits-test.csv", "digits-test.csv")
    require = [{"metric": "accuracy", "min": "0.9999"}]
    served.apply(served.address(), serving={"replicas": 1}, validation={"data": data, "require": require})
    failure = served.wait_failure("ValidationFailed", kind="Stalled")
    assert "accuracy" in failure["message"]
    assert "0.9999" in failure["message"]


@pytest.mark.usefixtures("uninterrupted")
@pytest.mark.parametrize("kind", ["a quota", "a limit range"])
def test_a_rule_that_rejects_the_prepare_pod_is_reported(served, fault_address, kind):
    obj, message_part = {
        "a quota": (quota(pods=1), "exceeded quota: pods"),
        "a limit range": (limit_range(min={"cpu": "2"}), "minimum cpu usage per Container is 2, but request is 50m"),
    }[kind]
    with rule(obj, served.namespace):
        before = change_source(served, fault_address("hangs"))
        failure = served.wait_failure("PodRefused")
    assert message_part in failure["message"]
    assert "change that rule or quota" in failure["message"]
    assert seconds_until_reported(served, failure, before) <= REPORT_SECONDS


@pytest.mark.usefixtures("uninterrupted")
def test_an_evicted_prepare_pod_is_reported_and_the_job_is_retried(served, fault_address):
    storage = {"ephemeral-storage": "20Mi"}
    with rule(limit_range(default=storage, defaultRequest=storage), served.namespace):
        before = change_source(served, fault_address("floods"))
        until(lambda: attempt(served) >= 2, "another attempt", timeout=120)
    (first, *_) = [each for each in warnings(served) if each["reason"] == "Evicted"]
    assert "ephemeral" in first["message"]
    assert "20Mi" in first["message"]
    assert "increase that limit" in first["message"]
    assert seconds_until_reported(served, {"time": first["firstTimestamp"]}, before) <= REPORT_SECONDS


@pytest.mark.usefixtures("uninterrupted")
def test_a_prepare_pod_out_of_memory_is_retried_once_with_twice_the_memory_and_then_stalls(served, files):
    with labelled(served.namespace, "prepare-memory", "low"):
        change_source(served, served.upload(files / "digits.keras", "large.keras"))
        failure = served.wait_failure("OutOfMemory", kind="Stalled")
    assert "container prepare" in failure["message"]
    assert "spec.serving.runtime tensorflow" in failure["message"]
    (job,) = prepare_jobs(served)
    assert job["metadata"]["annotations"]["keras-operator.dev/memory-factor"] == "2"
    messages = [each["message"] for each in warnings(served) if each["reason"] == "OutOfMemory"]
    assert any("container prepare" in each and "retries once with twice the memory" in each for each in messages)


def test_the_operator_survives_the_deletion_of_a_models_namespace(new_namespace, fault_address, bucket):
    namespace = new_namespace()
    # The finalizer keeps the namespace for a while, so that the API server rejects requests of the operator.
    holder = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "holder", "finalizers": ["e2e.test/hold"]}}
    k8s.apply(holder, namespace=namespace)
    model = Model("deleted", namespace, bucket)
    model.apply(fault_address("hangs"))
    until(lambda: attempt(model) == 1, "a Job")
    before = operator_pod()
    k8s.kubectl("delete", "namespace", namespace, "--wait=false")
    until(lambda: not model.resource, "the deletion of the model")
    for kind in ("serviceaccount", "service", "job", "pod"):
        until(lambda kind=kind: k8s.get_list(kind, namespace, "keras-operator.dev/model=deleted") == [], f"no {kind}")
    k8s.kubectl(
        "patch", "configmap", "holder", "-n", namespace, "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )
    after = operator_pod()
    assert (after["metadata"]["uid"], restarts(after)) == (before["metadata"]["uid"], restarts(before))
    log = k8s.kubectl("logs", "-n", SYSTEM, after["metadata"]["name"], "--since=2m")
    assert "internal error; retrying" not in log


def test_a_missing_permission_is_reported_and_used_once_granted(namespace, fault_address, bucket):
    model = Model("forbidden", namespace, bucket)
    source = fault_address("hangs")
    role = applied_form(json.loads(k8s.kubectl("get", "clusterrole", "keras-operator", "-o", "json")))
    reduced = deepcopy(role)
    for each in reduced["rules"]:
        if "jobs" in each["resources"]:
            each["verbs"] = [verb for verb in each["verbs"] if verb not in ("create", "patch")]
    try:
        apply_as_helm(reduced)
        model.apply(source)
        failure = model.wait_failure("Forbidden")
        assert "the operator has no permission to patch jobs.batch" in failure["message"] or (
            "the operator has no permission to create jobs.batch" in failure["message"]
        )
    finally:
        apply_as_helm(role)
    # The operator retries every 30 s, and at once when the spec changes.
    model.apply(source, source={"pollInterval": "1h"})
    model.wait_reason("Ready", "Preparing", timeout=60)
    model.delete()


@pytest.mark.usefixtures("uninterrupted")
@pytest.mark.parametrize("fails", ["is down", "never answers"])
def test_a_failed_store_is_reported_by_the_models_that_need_it_and_affects_no_other(
    served, bucket, server_image, fails
):
    waiting = Model(f"store-{fails.replace(' ', '-')}", served.namespace, bucket)
    before = uids(served.namespace)
    with stopped_store() if fails == "is down" else unresponsive_store(server_image):
        served.apply(served.address(), serving={"replicas": 2})
        waiting.apply(waiting.upload(model_files.UNREADABLE["an HTML page"][0]))
        for model, step in ((served, "serve"), (waiting, "prepare")):
            failure = model.wait_failure("StoreUnavailable")
            assert failure["step"] == step
            assert "keras-store" in failure["message"]
            assert seconds_until_reported(model, failure, before) <= REPORT_SECONDS
    waiting.wait_failure("ModelUnreadable", kind="Stalled")
    served.wait_ready()
    waiting.delete()
    served.apply(served.address(), serving={"replicas": 1})
    served.wait_ready()


@pytest.mark.usefixtures("uninterrupted")
def test_a_bundle_that_lost_a_file_is_reported_and_prepared_again(served):
    served.apply(served.address(), serving={"replicas": 2})
    revision = served.wait_ready()["servingRevision"]
    before = uids(served.namespace)
    remove = f"import os; os.remove('/data/{served.namespace}/digits/{revision}/model.onnx')"
    k8s.kubectl("exec", "deployment/keras-store", "-n", SYSTEM, "--", "python", "-c", remove)
    k8s.kubectl("delete", "pod", remaining_server(served), "-n", served.namespace)
    failure = served.wait_failure("BundleInvalid")
    assert f"{served.namespace}/digits/{revision}/model.onnx" in failure["message"]
    assert "the operator prepares it again" in failure["message"]
    assert seconds_until_reported(served, failure, before) <= REPORT_SECONDS
    served.wait_ready()


def test_a_full_store_is_reported_and_used_once_it_has_space(served, client):
    first, before = served.wait_ready()["servingRevision"], uids(served.namespace)
    with full_store():
        served.apply(served.address(), serving={"replicas": 2, "runtime": "onnxruntime"})
        failure = served.wait_failure("StoreUnavailable")
        assert failure["step"] == "prepare"
        assert "has no space left for" in failure["message"]
        assert f"of {served.namespace}/digits/{served.status['desiredRevision']}/" in failure["message"]
        assert "enlarge the store's volume, or delete old bundles" in failure["message"]
        assert seconds_until_reported(served, failure, before) <= REPORT_SECONDS
        assert served.status["servingRevision"] == first
        assert served.condition("Available")["status"] == "True"
    served.wait_ready()
    assert served.status["servingRevision"] == served.status["desiredRevision"] != first
    answered = client.answers
    until(lambda: client.answers > answered, "an answer for the client")
    assert client.failures == []


def change_source(model: Model, uri: str) -> set[str]:
    """Change the source of a served model. Returns the uids of the pods and Events from before."""
    before = uids(model.namespace)
    model.apply(uri, serving={"replicas": 1})
    return before
