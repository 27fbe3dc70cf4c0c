"""A bundle that is in the store already: served without a prepare Job, unless the pods find it broken."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.apiserver import ApiServer
from cluster.ports import Port
from kube import Kube, wait_until
from kubelet import builtins, summary
from operator_process import ROOT, OperatorProcess
from scene import Scene
from source import Source

from keras_api.bundle import Manifest, SourceRecord, encode_manifest
from keras_api.request import bundle_path


class Store:
    """The embedded store as a process, without tokens."""

    def __init__(self, folder: Path) -> None:
        self._port = Port()
        self.url = f"http://127.0.0.1:{self._port.number}"
        self._folder = folder
        self._command = [
            *(sys.executable, "-m", "keras_store", "serve", "--insecure-no-auth"),
            *("--root", str(folder / "data"), "--host", "127.0.0.1", "--port", str(self._port.number)),
        ]

    def __enter__(self) -> Store:
        with (self._folder / "store.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env={"PYTHONPATH": str(ROOT / "operator")}, stdout=log, stderr=log
            )
        wait_until(self._answers, "the store to answer")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def put(self, namespace: str, revision: str) -> Manifest:
        """Store a bundle of no files, as the container `put` would have."""
        model = summary(stored="1")
        source = SourceRecord(uri="http://m/m.keras", fingerprint="f", digest=model.digest, size_bytes=1)
        manifest = Manifest(revision=revision, source=source, model=model, entry="model.onnx", versions={}, files=[])
        url = f"{self.url}/{bundle_path(namespace, 'digits', revision)}/manifest.json"
        request = urllib.request.Request(url, encode_manifest(manifest), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 201
        return manifest

    def questions(self) -> float:
        """How often it was asked for a file."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(
            float(line.split()[-1])
            for line in lines
            if line.startswith('keras_store_requests_total{code="200",method="GET"}')
        )

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture(scope="module")
def operator(
    quiet_api_server: ApiServer, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """An operator that reaches the store."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess(quiet_api_server.kubeconfig, log, store_url=store.url) as process:
        yield process


@pytest.fixture
def scene(quiet_api_server: ApiServer, operator: OperatorProcess) -> Iterator[Scene]:
    """A namespace of the test's own."""
    kube = Kube(quiet_api_server.kubeconfig)
    name = f"shelf-{kube.unique()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield Scene(kube, name)
    kube.delete("kerasmodels", name, "digits")


def jobs(scene: Scene, revision: str) -> list[Any]:
    return scene.kube.list("jobs", scene.namespace, f"keras-operator.dev/revision={revision}")


def delete(scene: Scene) -> None:
    """Delete the model, and wait until its children are gone too."""
    scene.kube.delete("kerasmodels", scene.namespace, "digits")
    for plural in ("jobs", "deployments", "pods"):
        wait_until(lambda plural=plural: not scene.kube.list(plural, scene.namespace), f"no {plural}")


def test_a_model_made_again_is_served_from_the_store(
    scene: Scene, source: Source, store: Store, operator: OperatorProcess
) -> None:
    revision = scene.serve(source.url)
    manifest = store.put(scene.namespace, revision)
    delete(scene)
    asked, written = store.questions(), operator.metrics()["keras_operator_status_writes_total"]

    scene.create(source.url)
    scene.kubelet.serves("digits")
    scene.wait_for("Ready", "True", "Serving")

    assert jobs(scene, revision) == []
    assert scene.status()["model"] == builtins(manifest.model)
    assert scene.status()["preparedRevision"] == revision
    assert store.questions() - asked == 1
    assert operator.metrics()["keras_operator_status_writes_total"] - written <= 4


def test_a_rollback_to_what_is_in_the_store_needs_no_job(scene: Scene, source: Source, store: Store) -> None:
    first = scene.serve(source.url, serving={"runtime": "onnxruntime"})
    store.put(scene.namespace, first)
    scene.change(serving={"runtime": "auto"})
    second = scene.kubelet.prepares("digits")["metadata"]["labels"]["keras-operator.dev/revision"]
    scene.kubelet.serves("digits", 1, second)
    wait_until(lambda: not jobs(scene, first), "the first Job to be deleted")

    scene.change(serving={"runtime": "onnxruntime"})
    scene.kubelet.serves("digits", 1, first)
    wait_until(lambda: scene.status()["servingRevision"] == first, "the first revision to be served")
    assert jobs(scene, first) == []


def test_a_bundle_that_pods_find_broken_is_prepared_again(scene: Scene, source: Source, store: Store) -> None:
    revision = scene.serve(source.url)
    store.put(scene.namespace, revision)
    delete(scene)

    scene.create(source.url)
    (pod,) = scene.kubelet.server_pods("digits")
    assert jobs(scene, revision) == []
    scene.kubelet.misses_its_bundle(pod)
    scene.kubelet.prepares("digits", revision)
    scene.kubelet.serves("digits")
    scene.wait_for("Ready", "True", "Serving")
