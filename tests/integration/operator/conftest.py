"""A real API (etcd, kube-apiserver, kube-controller-manager), the real operator process, and a source of model files.

There are no nodes: the tests write pods' statuses as a kubelet would (see `kubelet`). Everything else is real.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "hack"), str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from cluster.apiserver import ApiServer  # noqa: E402
from fault_source import Source  # noqa: E402
from kube import Kube, wait_until  # noqa: E402
from operator_process import OperatorProcess  # noqa: E402

from keras_api.crd import custom_resource_definition  # noqa: E402
from keras_store.sources.registry import SCHEMES  # noqa: E402


@contextmanager
def _api_server(folder: Path) -> Iterator[ApiServer]:
    with ApiServer(folder, controller_manager=True) as server:
        kube = Kube(server.kubeconfig)
        kube.create(custom_resource_definition(SCHEMES))
        wait_until(lambda: kube.serves("/apis/keras-operator.dev/v1alpha1"), "the CRD to be served")
        yield server


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with _api_server(tmp_path_factory.mktemp("api")) as server:
        yield server


@pytest.fixture(scope="session")
def quiet_api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """For tests that bring their own operators, which the one at work elsewhere would help."""
    with _api_server(tmp_path_factory.mktemp("quiet-api")) as server:
        yield server


@pytest.fixture
def own_api(tmp_path: Path) -> Iterator[ApiServer]:
    """For one test alone, which may stop it or take its CRDs away."""
    with _api_server(tmp_path / "api") as server:
        yield server


@pytest.fixture
def own_kube(own_api: ApiServer) -> Kube:
    return Kube(own_api.kubeconfig)


@pytest.fixture(scope="session")
def kube(api_server: ApiServer) -> Kube:
    """A client with all rights."""
    return Kube(api_server.kubeconfig)


@pytest.fixture(scope="session")
def operator(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator at work, cluster-wide."""
    operator = OperatorProcess(api_server.kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log")
    with operator, operator.begun_again():
        yield operator


@pytest.fixture
def namespace(kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"{request.node.originalname.replace('_', '-')[:40].rstrip('-')}-{kube.unique()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    for model in kube.list("kerasmodels", name):
        kube.delete("kerasmodels", name, model["metadata"]["name"])


@pytest.fixture
def source() -> Iterator[Source]:
    """An HTTP server on loopback with one model file."""
    with Source() as server:
        yield server


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let a failure show what the operator logged."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    process = getattr(item, "funcargs", {}).get("operator")
    if report.when == "call" and report.failed and process is not None:
        report.sections.append(("operator log", process.tail()))
