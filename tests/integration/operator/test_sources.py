"""Sources of every wrong kind: what the status says of each, and that what is being served goes on meanwhile.

All at once, since most of them take their time: a model for each case is served from a good source, by a real server
that a client asks all the while, then led to the wrong one. Where the operator cannot see what is wrong, the real fetch
step meets it: it is run with the command and the credentials of the applied Job, and hands over its termination message
as a kubelet would.
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
from fault_source import BadSource
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import ROOT, OperatorProcess
from running_pods import RunningPods

S3_KEYS = {"AWS_ACCESS_KEY_ID": s3_service.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": s3_service.SECRET_KEY}
PASSWORD = "p4ssw0rd"  # in every Secret and signed address here, and in no message


@dataclass(frozen=True)
class Case:
    """A wrong source.

    `{http}`, `{tls}`, `{closed}` and `{s3}` in its texts stand for addresses of servers. `secret` is the content of the
    Secret `NAME-reader`, and `missing_secret` names one that is not there. `event` and `unscheduled` are what the
    kubelet and the scheduler say of the prepare pod.
    """

    spec: Object
    reason: str
    says: list[str]
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
    # What the operator meets when it asks
    "a host that does not resolve": Case(
        {"uri": "http://no-such-host.invalid/m.keras"},
        "SourceUnreachable",
        ["http://no-such-host.invalid/m.keras: the host does not resolve", "check the host, DNS and network policies"],
    ),
    "a port where nobody listens": Case(
        {"uri": "{closed}/m.keras"},
        "SourceUnreachable",
        ["{closed}/m.keras: no connection (Connection refused)", "check the host"],
    ),
    "a server that never answers": Case(
        http("silent"),
        "SourceUnreachable",
        ["{http}/silent/m.keras: no answer within 20 s", "check the host"],
    ),
    "a redirection in a circle": Case(
        http("loop"), "SourceUnreachable", ["{http}/loop/m.keras: redirected too often", "check the address"]
    ),
    "401": Case(http("status/401"), "SourceAccessDenied", ["{http}/status/401/m.keras answers 401", "secretRef"]),
    "403": Case(
        http("status/403"),
        "SourceAccessDenied",
        ["{http}/status/403/m.keras answers 403", "spec.source.secretRef name a Secret with credentials"],
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
        ["{http}/status/500/m.keras answers 500", "the operator tries again; if it stays, look at the server"],
    ),
    "a certificate of an unknown authority": Case(
        {"uri": "{tls}/file/m.keras"},
        "SourceUnreachable",
        ["{tls}/file/m.keras: the server's certificate is not trusted", "issuer", "a valid certificate"],
    ),
    "TLS with a server that speaks none": Case(
        {"uri": "{closed_tls}/file/m.keras"},
        "SourceUnreachable",
        ["{closed_tls}/file/m.keras: no TLS connection", "write http:// if it has none"],
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
        secret={"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": PASSWORD},
    ),
    "no keys for a bucket that wants some": Case(
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
    "a file beyond the limit": Case(
        http("large"),
        "SourceTooLarge",
        [
            "{http}/large/m.keras has 10995116277760 bytes",
            "limit of 8589934592",
            "increase the chart value prepare.maxSourceSize",
        ],
    ),
    # What the fetch step meets
    "a body shorter than its length": Case(
        http("short"),
        "SourceUnreachable",
        ["{http}/short/m.keras: the answer broke off before its end", "the operator tries again"],
        fetched=True,
    ),
    "another digest than the pinned one": Case(
        {**http("file"), "digest": OTHER_DIGEST},
        "DigestMismatch",
        ["{http}/file/m.keras has sha256:", f"spec.source.digest is {OTHER_DIGEST}", "correct the digest"],
        fetched=True,
    ),
    "a file replaced after the look": Case(
        http("replaced"),
        "SourceChanged",
        ["{http}/replaced/m.keras was replaced after it was looked at", "the operator looks again"],
        fetched=True,
        passes=True,
    ),
    "an expired certificate": Case(
        {"uri": "{expired}/file/m.keras", "digest": OTHER_DIGEST},
        "SourceUnreachable",
        ["{expired}/file/m.keras: the server's certificate", "certificate has expired", "a valid certificate"],
        fetched=True,
    ),
    "a file that the claim lacks": Case(
        {"uri": "pvc://models/none.keras"},
        "SourceNotFound",
        ["pvc://models/none.keras: No such file", "correct the address, or put the file there"],
        fetched=True,
    ),
    # What the scheduler and the kubelet meet
    "a claim that is missing": Case(
        {"uri": "pvc://nowhere/m.keras"},
        "VolumeUnavailable",
        ['persistentvolumeclaim "nowhere" not found', "create that claim"],
        unscheduled='0/1 nodes are available: persistentvolumeclaim "nowhere" not found. preemption: 0/1 nodes.',
    ),
    "a claim that waits for its volume": Case(
        {"uri": "pvc://waiting/m.keras"},
        "VolumeUnavailable",
        ["unbound immediate PersistentVolumeClaims", "on a volume that it can be bound to"],
        unscheduled="0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: none.",
    ),
    "a volume that cannot be mounted": Case(
        {"uri": "pvc://broken/m.keras"},
        "VolumeUnavailable",
        ['MountVolume.SetUp failed for volume "models"', "create what it lacks"],
        event='MountVolume.SetUp failed for volume "models": no such device',
    ),
}


@dataclass(frozen=True)
class Told:
    """What the cluster held before and after a model's source went wrong."""

    places: dict[str, str]
    before: Object
    ready: Object  # the condition, at the time when it named the failure
    after: Object
    deployment_before: Object
    deployment_after: Object
    answers: int  # that a client was given meanwhile
    failed_request: str

    def condition(self, kind: str) -> Object:
        return next(each for each in self.after["conditions"] if each["type"] == kind)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The servers, by the names that the cases give them; and `trust`, the authority of the expired certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    _authority(folder)
    unknown, expired = _certificate(folder, "unknown", days=1), _certificate(folder, "expired", days=-1)
    with ExitStack() as running, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        plain = running.enter_context(BadSource())
        s3 = running.enter_context(s3_service.s3_service())
        s3.put(b"a model")
        yield {
            "http": plain.url,
            "tls": running.enter_context(BadSource(*unknown)).url,
            "expired": running.enter_context(BadSource(*expired)).url,
            "closed": f"http://127.0.0.1:{closed.getsockname()[1]}",
            "closed_tls": plain.url.replace("http://", "https://"),
            "s3": s3.endpoint,
            "trust": str(folder / "ca.crt"),
        }


@pytest.fixture
def scene(kube: Kube, namespace: str, operator: OperatorProcess) -> ModelFixture:
    return ModelFixture(kube, namespace)


@pytest.fixture(scope="module")
def told(
    kube: Kube, operator: OperatorProcess, places: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Told]]:
    """Every case, gone through: serve all, lead all astray, and wait until the status of each says so."""
    namespace = f"wrong-sources-{kube.unique()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    running = RunningPods(kube, namespace, tmp_path_factory.mktemp("pods"))
    scenes = {what: ModelFixture(kube, namespace, f"model-{number}") for number, what in enumerate(CASES)}
    for scene in scenes.values():
        scene.create(f"{places['http']}/file/{scene.name}.keras")
    for scene in scenes.values():
        scene.kubelet.prepares(scene.name)
    for scene in scenes.values():
        for pod in scene.kubelet.serves(scene.name):
            running.start(pod)
    before = {}
    with running:
        asked = running.all_asked()
        for what, scene in scenes.items():
            scene.wait_for("Ready", "True")
            before[what] = (scene.status(), scene.wait_for_child("deployments"))
            _lead_astray(scene, CASES[what], places)
        with ThreadPoolExecutor(4) as pool:
            fetches = {
                what: pool.submit(_fetch, scene, CASES[what], places, tmp_path_factory.mktemp("fetch"))
                for what, scene in scenes.items()
                if CASES[what].fetched
            }
            for what, scene in scenes.items():
                _hold_up(scene, CASES[what])
            ready = {what: fetch.result() for what, fetch in fetches.items()}
        for what, scene in scenes.items():
            if what not in ready:
                ready[what] = _ready(scene, CASES[what])
        answers = running.all_asked() - asked
    yield {
        what: Told(
            places={**places, "name": scene.name, "namespace": namespace},
            before=before[what][0],
            ready=ready[what],
            after=scene.status(),
            deployment_before=before[what][1],
            deployment_after=scene.wait_for_child("deployments"),
            answers=answers[scene.name],
            failed_request=running.failures.get(scene.name, ""),
        )
        for what, scene in scenes.items()
    }
    for scene in scenes.values():
        kube.delete("kerasmodels", namespace, scene.name)


def _lead_astray(scene: ModelFixture, case: Case, places: dict[str, str]) -> None:
    spec = _filled(case.spec, places)
    if case.secret:
        name = f"{scene.name}-reader"
        data = {key: base64.b64encode(value.encode()).decode() for key, value in case.secret.items()}
        metadata = {"name": name, "namespace": scene.namespace}
        scene.kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        spec["secretRef"] = {"name": name}
    scene.change(source=spec)


def _fetch(scene: ModelFixture, case: Case, places: dict[str, str], folder: Path) -> Object:
    """Run the real step with the applied Job's command, hand over its last words, and wait for Ready to name them."""
    pod = _new_prepare_pod(scene)
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
    assert not list((folder / "work").rglob("*.keras")), "a file was kept"
    shutil.rmtree(folder / "work", ignore_errors=True)
    revision = pod["metadata"]["labels"]["keras-operator.dev/revision"]
    scene.kubelet.hands_over(scene.name, "fetch", 1, message.read_text(), revision)
    return _ready(scene, case)


def _hold_up(scene: ModelFixture, case: Case) -> None:
    """Say what the scheduler or the kubelet says of a claim."""
    if case.unscheduled:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": case.unscheduled}
        scene.kubelet.says(_new_prepare_pod(scene), conditions=[condition])
    if case.event:
        pod = _new_prepare_pod(scene)
        scene.kube.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{pod['metadata']['name']}.1", "namespace": scene.namespace},
                "involvedObject": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": pod["metadata"]["name"],
                    "namespace": scene.namespace,
                    "uid": pod["metadata"]["uid"],
                },
                "type": "Warning",
                "reason": "FailedMount",
                "message": case.event,
            }
        )


def _new_prepare_pod(scene: ModelFixture) -> Object:
    served = scene.status()["servingRevision"]
    revision = wait_until(
        lambda: (found := scene.status().get("desiredRevision")) != served and found, f"{scene.name}'s new revision"
    )
    return scene.kubelet.prepare_pod(scene.name, revision)


def _ready(scene: ModelFixture, case: Case) -> Object:
    """The condition Ready, as soon as it names the failure; what passes at once is observed in lastFailure only.

    When it does not come, the status is taken as it is, so that only the test of this case fails.
    """
    with contextlib.suppress(AssertionError):
        if not case.passes:
            return scene.wait_for("Ready", "False", case.reason)
        wait_until(lambda: scene.status().get("lastFailure", {}).get("reason") == case.reason, f"{scene.name} to fail")
    return scene.condition("Ready")


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
def test_a_wrong_source_is_named_with_culprit_and_remedy(told: dict[str, Told], what: str) -> None:
    case, found = CASES[what], told[what]
    failure = found.after.get("lastFailure", {"reason": "", "message": ""})
    assert failure["reason"] == case.reason
    for words in case.says:
        assert words.format_map(found.places) in failure["message"]
    if not case.passes:
        assert (found.ready["status"], found.ready["reason"]) == ("False", case.reason)
        assert found.ready["message"] == failure["message"]


@pytest.mark.parametrize("what", CASES)
def test_what_is_served_goes_on_while_the_source_is_wrong(told: dict[str, Told], what: str) -> None:
    found = told[what]
    assert found.condition("Available")["status"] == "True"
    assert found.after["servingRevision"] == found.before["servingRevision"]
    assert found.after["readyReplicas"] == 1
    assert (found.failed_request, found.answers > 0) == ("", True)
    for key in ("uid", "generation"):
        assert found.deployment_after["metadata"][key] == found.deployment_before["metadata"][key]


@pytest.mark.parametrize("what", CASES)
def test_no_message_holds_a_credential_or_speaks_python(told: dict[str, Told], what: str) -> None:
    messages = [each["message"] for each in told[what].after["conditions"]]
    for message in [*messages, told[what].after.get("lastFailure", {}).get("message", "")]:
        assert [sign for sign in (PASSWORD, "Traceback", "Error(", "<class", "object at 0x") if sign in message] == []


def test_no_message_holds_a_credential_while_a_source_is_asked(scene: ModelFixture, places: dict[str, str]) -> None:
    scene.create(**_filled(http("silent"), places))
    ready = scene.wait_for("Ready", "False", "Resolving")
    assert ready["message"] == f"polling {places['http']}/silent/m.keras for its version"
    assert PASSWORD not in str(scene.status()["conditions"])


def test_no_message_holds_a_credential_when_a_download_is_overdue(scene: ModelFixture, places: dict[str, str]) -> None:
    scene.create(**_filled(http("file"), places))
    pod = scene.kubelet.prepare_pod("digits")
    fetching = {
        "name": "fetch",
        "state": {"running": {}},
        "ready": False,
        "restartCount": 0,
        "image": "i",
        "imageID": "i",
    }
    scene.kubelet.says(pod, phase="Pending", initContainerStatuses=[fetching])
    job = pod["metadata"]["labels"]["job-name"]
    scene.kube.patch("jobs", scene.namespace, job, {"spec": {"activeDeadlineSeconds": 1}})
    ready = scene.wait_for("Ready", "False", "DeadlineExceeded")
    assert f"was still downloading {places['http']}/file/m.keras; " in ready["message"]
    assert PASSWORD not in str([scene.status()["conditions"], scene.status()["lastFailure"]])
