"""Failures of sources: the status reports each one, and the served revision is not affected.

All cases run concurrently, because most of them wait for timeouts. For each case a model is served from a working
source by a real server, to which a client sends requests all the time; then its source is changed. Where only the fetch
step can detect the failure, the real step runs with the command and the credentials of the applied Job, and its
termination message is written to the pod as a kubelet does.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import s3_service
from cluster.commands import run
from fault_source import PathFaultSource
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import ROOT, OperatorProcess
from running_pods import RunningPods

S3_KEYS = {"AWS_ACCESS_KEY_ID": s3_service.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": s3_service.SECRET_KEY}
PASSWORD = "p4ssw0rd"  # in every Secret and signed address here, and never in a message


@dataclass(frozen=True)
class Case:
    """A source that fails.

    `{http}`, `{tls}`, `{closed}` and `{s3}` are replaced by the addresses of servers. `secret` is the content of the
    Secret `NAME-reader`. `event` and `unscheduled` are messages of the kubelet and the scheduler about the prepare pod.
    `fetched` marks a failure that only the fetch step detects, and `passes` one that the next poll fixes.
    """

    spec: Object
    reason: str
    message_parts: list[str]
    secret: dict[str, str] = field(default_factory=dict)
    fetched: bool = False
    passes: bool = False
    unscheduled: str = ""
    event: str = ""


def http(path: str) -> Object:
    return {"uri": f"{{http}}/{path}/m.keras?signature={PASSWORD}"}


def s3(uri: str = s3_service.URI) -> Object:
    return {"uri": uri, "s3": {"endpoint": "{s3}"}}


OTHER_DIGEST = "sha256:" + "0" * 64

CASES: dict[str, Case] = {
    # Detected by the operator's poll
    "a host that does not resolve": Case(
        {"uri": "http://no-such-host.invalid/m.keras"},
        "SourceUnreachable",
        ["http://no-such-host.invalid/m.keras: the host does not resolve", "check the host, DNS and network policies"],
    ),
    "a closed port": Case(
        {"uri": "{closed}/m.keras"},
        "SourceUnreachable",
        ["{closed}/m.keras: no connection (Connection refused)", "check the host"],
    ),
    "a server that never answers": Case(
        http("silent"),
        "SourceUnreachable",
        ["{http}/silent/m.keras: no answer within 20 s", "check the host"],
    ),
    "a redirect loop": Case(
        http("loop"), "SourceUnreachable", ["{http}/loop/m.keras: too many redirects", "check the address"]
    ),
    "401": Case(http("status/401"), "SourceAccessDenied", ["{http}/status/401/m.keras answers 401", "secretRef"]),
    "403": Case(
        http("status/403"),
        "SourceAccessDenied",
        ["{http}/status/403/m.keras answers 403", "set spec.source.secretRef to a Secret with credentials"],
        secret={"HTTP_USERNAME": "jane", "HTTP_PASSWORD": PASSWORD},
    ),
    "404": Case(
        http("status/404"),
        "SourceNotFound",
        ["{http}/status/404/m.keras answers 404", "correct the address, or put the file there"],
    ),
    "500": Case(
        http("status/500"),
        "SourceUnreachable",
        ["{http}/status/500/m.keras answers 500", "the operator retries; if the error persists, check the server"],
    ),
    "a certificate of an unknown authority": Case(
        {"uri": "{tls}/file/m.keras"},
        "SourceUnreachable",
        ["{tls}/file/m.keras: the server's certificate is not trusted", "issuer", "a valid certificate"],
    ),
    "TLS with a server that has none": Case(
        {"uri": "{closed_tls}/file/m.keras"},
        "SourceUnreachable",
        ["{closed_tls}/file/m.keras: no TLS connection", "use http:// if it has none"],
    ),
    "no such bucket": Case(
        s3("s3://none/m.keras"),
        "SourceNotFound",
        ["s3://none/m.keras at {s3}: the bucket does not exist", "correct the address"],
        secret=S3_KEYS,
    ),
    "no such object": Case(
        s3("s3://models/none.keras"),
        "SourceNotFound",
        ["s3://models/none.keras at {s3}: there is no such object", "put the file there"],
        secret=S3_KEYS,
    ),
    "a wrong secret key": Case(
        s3(),
        "SourceAccessDenied",
        ["s3://models/digits.keras at {s3}: the secret access key is wrong", "spec.source.secretRef"],
        secret={**S3_KEYS, "AWS_SECRET_ACCESS_KEY": PASSWORD},
    ),
    "an unknown access key": Case(
        s3(),
        "SourceAccessDenied",
        ["s3://models/digits.keras at {s3}: the service does not know the access key", "spec.source.secretRef"],
        secret={"AWS_ACCESS_KEY_ID": "unknown-key", "AWS_SECRET_ACCESS_KEY": PASSWORD},
    ),
    "no keys for a private bucket": Case(
        s3(), "SourceAccessDenied", ["s3://models/digits.keras at {s3}: access denied", "spec.source.secretRef"]
    ),
    "a missing Secret": Case(
        {**s3(), "secretRef": {"name": "nowhere"}},
        "SecretNotFound",
        ["Secret nowhere in namespace {namespace} (spec.source.secretRef) does not exist: create it"],
    ),
    "a Secret with other keys": Case(
        s3(),
        "SecretNotFound",
        ["Secret {name}-reader in namespace {namespace}", "has none of the keys AWS_ACCESS_KEY_ID", "add those"],
        secret={"accessKey": "jane", "secretKey": PASSWORD},
    ),
    "a Secret with half a pair of keys": Case(
        s3(),
        "SecretNotFound",
        ["Secret {name}-reader in namespace {namespace}", "AWS_ACCESS_KEY_ID but not AWS_SECRET_ACCESS_KEY", "add it"],
        secret={"AWS_ACCESS_KEY_ID": "jane"},
    ),
    "a file above the size limit": Case(
        http("large"),
        "SourceTooLarge",
        [
            "{http}/large/m.keras has 10995116277760 bytes",
            "limit of 8589934592",
            "increase the chart value prepare.maxSourceSize",
        ],
    ),
    # Detected by the fetch step
    "a body shorter than its length": Case(
        http("short"),
        "SourceUnreachable",
        ["{http}/short/m.keras: the connection closed before the end of the response", "the operator retries"],
        fetched=True,
    ),
    "a digest that differs from the pinned one": Case(
        {**http("file"), "digest": OTHER_DIGEST},
        "DigestMismatch",
        ["{http}/file/m.keras has sha256:", f"spec.source.digest is {OTHER_DIGEST}", "correct the digest"],
        fetched=True,
    ),
    "a file replaced after the poll": Case(
        http("replaced"),
        "SourceChanged",
        [
            "{http}/replaced/m.keras was replaced after it was polled",
            "the operator polls the source again",
        ],
        fetched=True,
        passes=True,
    ),
    "an expired certificate": Case(
        {"uri": "{expired}/file/m.keras", "digest": OTHER_DIGEST},
        "SourceUnreachable",
        ["{expired}/file/m.keras: the server's certificate", "certificate has expired", "a valid certificate"],
        fetched=True,
    ),
    "a file missing in the claim": Case(
        {"uri": "pvc://models/none.keras"},
        "SourceNotFound",
        ["pvc://models/none.keras: No such file", "correct the address, or put the file there"],
        fetched=True,
    ),
    # Detected by the scheduler and the kubelet
    "a claim that is missing": Case(
        {"uri": "pvc://nowhere/m.keras"},
        "VolumeUnavailable",
        ['persistentvolumeclaim "nowhere" not found', "create that claim"],
        unscheduled='0/1 nodes are available: persistentvolumeclaim "nowhere" not found. preemption: 0/1 nodes.',
    ),
    "a claim that waits for its volume": Case(
        {"uri": "pvc://waiting/m.keras"},
        "VolumeUnavailable",
        ["unbound immediate PersistentVolumeClaims", "with a volume that it can be bound to"],
        unscheduled="0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: none.",
    ),
    "a volume that cannot be mounted": Case(
        {"uri": "pvc://broken/m.keras"},
        "VolumeUnavailable",
        ['MountVolume.SetUp failed for volume "models"', "create the missing object"],
        event='MountVolume.SetUp failed for volume "models": no such device',
    ),
}


@dataclass(frozen=True)
class Outcome:
    """The state of a model before and after its source failed."""

    places: dict[str, str]
    before: Object
    ready: Object  # the condition Ready when it reported the failure
    after: Object
    deployment_before: Object
    deployment_after: Object
    answers: int  # to a client during the failure
    failed_request: str

    def condition(self, kind: str) -> Object:
        return next(each for each in self.after["conditions"] if each["type"] == kind)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of servers, by their names in the cases; and `trust`, the authority of the expired certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    _authority(folder)
    unknown, expired = _certificate(folder, "unknown", days=1), _certificate(folder, "expired", days=-1)
    with ExitStack() as running, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # without listening
        plain = running.enter_context(PathFaultSource())
        s3 = running.enter_context(s3_service.s3_service())
        s3.put(b"a model")
        yield {
            "http": plain.url,
            "tls": running.enter_context(PathFaultSource(*unknown)).url,
            "expired": running.enter_context(PathFaultSource(*expired)).url,
            "closed": f"http://127.0.0.1:{closed.getsockname()[1]}",
            "closed_tls": plain.url.replace("http://", "https://"),
            "s3": s3.endpoint,
            "trust": str(folder / "ca.crt"),
        }


@pytest.fixture
def model(kube: Kube, namespace: str, operator: OperatorProcess) -> ModelFixture:
    return ModelFixture(kube, namespace)


@pytest.fixture(scope="module")
def outcomes(
    kube: Kube, operator: OperatorProcess, places: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Outcome]]:
    """Run all cases: serve all models, change their sources, and wait until each status reports the failure."""
    namespace = f"wrong-sources-{kube.unique()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    running = RunningPods(kube, namespace, tmp_path_factory.mktemp("pods"))
    models = {what: ModelFixture(kube, namespace, f"model-{number}") for number, what in enumerate(CASES)}
    for model in models.values():
        model.create(f"{places['http']}/file/{model.name}.keras")
    for model in models.values():
        model.kubelet.complete_prepare(model.name)
    for model in models.values():
        for pod in model.kubelet.make_servers_ready(model.name):
            running.start(pod)
    before = {}
    with running:
        answered = running.wait_for_answers()
        for what, model in models.items():
            model.wait_for("Ready", "True")
            before[what] = (model.status(), model.wait_for_child("deployments"))
            _set_source(model, CASES[what], places)
        with ThreadPoolExecutor(4) as pool:
            fetches = {
                what: pool.submit(_fetch, model, CASES[what], places, tmp_path_factory.mktemp("fetch"))
                for what, model in models.items()
                if CASES[what].fetched
            }
            for what, model in models.items():
                _block_prepare_pod(model, CASES[what])
            ready = {what: fetch.result() for what, fetch in fetches.items()}
        for what, model in models.items():
            if what not in ready:
                ready[what] = _ready(model, CASES[what])
        answers = running.wait_for_answers() - answered
    yield {
        what: Outcome(
            places={**places, "name": model.name, "namespace": namespace},
            before=before[what][0],
            ready=ready[what],
            after=model.status(),
            deployment_before=before[what][1],
            deployment_after=model.wait_for_child("deployments"),
            answers=answers[model.name],
            failed_request=running.failures.get(model.name, ""),
        )
        for what, model in models.items()
    }
    for model in models.values():
        kube.delete("kerasmodels", namespace, model.name)


def _set_source(model: ModelFixture, case: Case, places: dict[str, str]) -> None:
    spec = _filled(case.spec, places)
    if case.secret:
        name = f"{model.name}-reader"
        data = {key: base64.b64encode(value.encode()).decode() for key, value in case.secret.items()}
        metadata = {"name": name, "namespace": model.namespace}
        model.kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        spec["secretRef"] = {"name": name}
    model.change(source=spec)


def _fetch(model: ModelFixture, case: Case, places: dict[str, str], folder: Path) -> Object:
    """Run the real step with the applied Job's command, write its report to the pod, and wait for it in Ready."""
    pod = _new_prepare_pod(model)
    container = pod["spec"]["initContainers"][0]
    _, *command = [word.replace("$$", "$") for word in container["command"]]
    more = {"--store": f"file://{folder}/store", "--work": f"{folder}/work"}
    command = [more.get(before, word) for before, word in zip(["", *command], command, strict=False)]
    (folder / "volumes/models").mkdir(parents=True)
    message = folder / "message"
    environment = {
        **os.environ,
        **case.secret,
        "PYTHONPATH": str(ROOT / "operator"),
        "TERMINATION_MESSAGE_PATH": str(message),
        "SSL_CERT_FILE": places["trust"],
    }
    program = [sys.executable, *command, "--volumes", str(folder / "volumes")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert not list((folder / "work").rglob("*.keras")), "the file was not deleted"
    shutil.rmtree(folder / "work", ignore_errors=True)
    revision = pod["metadata"]["labels"]["keras-operator.dev/revision"]
    model.kubelet.end_container(model.name, "fetch", 1, message.read_text(), revision)
    return _ready(model, case)


def _block_prepare_pod(model: ModelFixture, case: Case) -> None:
    """Report an error of the scheduler or the kubelet about the claim."""
    if case.unscheduled:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": case.unscheduled}
        model.kubelet.set_status(_new_prepare_pod(model), conditions=[condition])
    if case.event:
        pod = _new_prepare_pod(model)
        model.kube.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{pod['metadata']['name']}.1", "namespace": model.namespace},
                "involvedObject": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": pod["metadata"]["name"],
                    "namespace": model.namespace,
                    "uid": pod["metadata"]["uid"],
                },
                "type": "Warning",
                "reason": "FailedMount",
                "message": case.event,
            }
        )


def _new_prepare_pod(model: ModelFixture) -> Object:
    served = model.status()["servingRevision"]
    revision = wait_until(
        lambda: (found := model.status().get("desiredRevision")) != served and found, f"{model.name}'s new revision"
    )
    return model.kubelet.prepare_pod(model.name, revision)


def _ready(model: ModelFixture, case: Case) -> Object:
    """The condition Ready, once it reports the failure; a failure that is fixed at once is only in lastFailure.

    If the failure is not reported, the present status is returned, so that only the tests of this case fail.
    """
    with contextlib.suppress(AssertionError):
        if not case.passes:
            return model.wait_for("Ready", "False", case.reason)
        wait_until(lambda: model.status().get("lastFailure", {}).get("reason") == case.reason, f"{model.name} to fail")
    return model.condition("Ready")


def _filled(value: Any, places: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, places) for key, inner in value.items()}
    return value.format_map(places) if isinstance(value, str) else value


def _authority(folder: Path) -> None:
    run(
        [
            *("openssl", "req", "-x509", "-days", "2", "-subj", "/CN=an authority", *_key(folder / "ca.key")),
            *("-addext", "keyUsage=critical,keyCertSign", "-out", folder / "ca.crt"),
        ]
    )


def _certificate(folder: Path, name: str, days: int) -> tuple[Path, Path]:
    """A certificate of the authority for 127.0.0.1, and its key."""
    certificate, key, request = (folder / f"{name}.{kind}" for kind in ("crt", "key", "csr"))
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    run(["openssl", "req", *_key(key), "-subj", "/CN=127.0.0.1", "-out", request])
    run(
        [
            *("openssl", "x509", "-req", "-days", str(days), "-extfile", folder / "names", "-CAcreateserial"),
            *("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-in", request, "-out", certificate),
        ]
    )
    return certificate, key


def _key(path: Path) -> list[str | Path]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]


@pytest.mark.parametrize("what", CASES)
def test_a_source_failure_is_reported_with_culprit_and_remedy(outcomes: dict[str, Outcome], what: str) -> None:
    case, found = CASES[what], outcomes[what]
    failure = found.after.get("lastFailure", {"reason": "", "message": ""})
    assert failure["reason"] == case.reason
    for part in case.message_parts:
        assert part.format_map(found.places) in failure["message"]
    if not case.passes:
        assert (found.ready["status"], found.ready["reason"]) == ("False", case.reason)
        assert found.ready["message"] == failure["message"]


@pytest.mark.parametrize("what", CASES)
def test_the_served_revision_answers_during_a_source_failure(outcomes: dict[str, Outcome], what: str) -> None:
    found = outcomes[what]
    assert found.condition("Available")["status"] == "True"
    assert found.after["servingRevision"] == found.before["servingRevision"]
    assert found.after["readyReplicas"] == 1
    assert (found.failed_request, found.answers > 0) == ("", True)
    for key in ("uid", "generation"):
        assert found.deployment_after["metadata"][key] == found.deployment_before["metadata"][key]


@pytest.mark.parametrize("what", CASES)
def test_no_message_contains_credentials_or_python_internals(outcomes: dict[str, Outcome], what: str) -> None:
    messages = [each["message"] for each in outcomes[what].after["conditions"]]
    for message in [*messages, outcomes[what].after.get("lastFailure", {}).get("message", "")]:
        assert [part for part in (PASSWORD, "Traceback", "Error(", "<class", "object at 0x") if part in message] == []


def test_no_message_contains_credentials_while_a_source_is_polled(model: ModelFixture, places: dict[str, str]) -> None:
    model.create(**_filled(http("silent"), places))
    ready = model.wait_for("Ready", "False", "Resolving")
    assert ready["message"] == f"polling {places['http']}/silent/m.keras for its version"
    assert PASSWORD not in str(model.status()["conditions"])


def test_no_message_contains_credentials_when_a_download_exceeds_the_deadline(
    model: ModelFixture, places: dict[str, str]
) -> None:
    model.create(**_filled(http("file"), places))
    pod = model.kubelet.prepare_pod("digits")
    fetching = {
        "name": "fetch",
        "state": {"running": {}},
        "ready": False,
        "restartCount": 0,
        "image": "i",
        "imageID": "i",
    }
    model.kubelet.set_status(pod, phase="Pending", initContainerStatuses=[fetching])
    job = pod["metadata"]["labels"]["job-name"]
    model.kube.patch("jobs", model.namespace, job, {"spec": {"activeDeadlineSeconds": 1}})
    ready = model.wait_for("Ready", "False", "DeadlineExceeded")
    assert f"was still downloading {places['http']}/file/m.keras; " in ready["message"]
    assert PASSWORD not in str([model.status()["conditions"], model.status()["lastFailure"]])
