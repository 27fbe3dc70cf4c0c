"""Fixtures of the e2e tests: namespaces, a bucket, model files, and the cluster's state in the report of a failure.

`make test-e2e` starts the cluster, pushes the images, and installs the add-ons and the chart; then it runs pytest.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from obstore.store import S3Store

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "hack"), str(Path(__file__).parent)]

import kubectl as k8s  # noqa: E402
import s3  # noqa: E402
from keras_models import Model  # noqa: E402
from status_assertions import namespaces_of, pytest_runtest_makereport  # noqa: E402, F401 - a hook


@pytest.fixture(scope="module")
def new_namespace(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Creates namespaces that enforce the restricted Pod Security Standard."""
    names = namespaces_of(request.node)

    def make() -> str:
        names.append(f"e2e-{uuid.uuid4().hex[:8]}")
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        k8s.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names[-1], "labels": labels}})
        return names[-1]

    yield make
    k8s.kubectl("delete", "namespace", *names, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="module")
def namespace(new_namespace: Callable[[], str]) -> str:
    """A new namespace for the module."""
    return new_namespace()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits.keras and digits-test.csv of the example, and the models of build_models.py."""
    folder = tmp_path_factory.mktemp("models")
    for script in (ROOT / "examples/digits/train.py", Path(__file__).parent / "build_models.py"):
        subprocess.run([sys.executable, script, folder], check=True, capture_output=True, text=True, timeout=280)
    return folder


@pytest.fixture(scope="session")
def bucket() -> Iterator[S3Store]:
    """The bucket `models` in the cluster's S3 service."""
    with s3.bucket() as models:
        yield models


@pytest.fixture
def model(namespace: str, bucket: S3Store) -> Iterator[Model]:
    """A KerasModel for the test, not applied yet; deleted after the test."""
    k8s.apply(s3.reader_secret(), namespace=namespace)
    subject = Model(f"km-{uuid.uuid4().hex[:6]}", namespace, bucket)
    yield subject
    subject.delete()
