"""A real API (etcd, kube-apiserver, kube-controller-manager), the real operator process, and a source of model files.

There are no nodes: the tests write the statuses of pods as a kubelet does (see `kubelet`). Everything else is real.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "hack"), str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from api_servers import api_server_with  # noqa: E402
from cluster.apiserver import ApiServer  # noqa: E402
from fault_source import FaultSource  # noqa: E402
from kube import Kube  # noqa: E402
from operator_process import OperatorProcess  # noqa: E402


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server_with(tmp_path_factory.mktemp("api")) as server:
        yield server


@pytest.fixture(scope="session")
def quiet_api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """For tests that run their own operators; the operator of the other tests does not act on it."""
    with api_server_with(tmp_path_factory.mktemp("quiet-api")) as server:
        yield server


@pytest.fixture
def own_api(tmp_path: Path) -> Iterator[ApiServer]:
    """For one test only, which may stop the server or delete its CRDs."""
    with api_server_with(tmp_path / "api") as server:
        yield server


@pytest.fixture
def own_kube(own_api: ApiServer) -> Kube:
    return Kube(own_api.kubeconfig)


@pytest.fixture(scope="session")
def kube(api_server: ApiServer) -> Kube:
    """A client with all permissions."""
    return Kube(api_server.kubeconfig)


@pytest.fixture(scope="session")
def operator(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator, cluster-wide."""
    operator = OperatorProcess(api_server.kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log")
    with operator, operator.relaunching():
        yield operator


@pytest.fixture
def namespace(kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new namespace for the test."""
    name = f"{request.node.originalname.replace('_', '-')[:40].rstrip('-')}-{kube.unique()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    for model in kube.list("kerasmodels", name):
        kube.delete("kerasmodels", name, model["metadata"]["name"])


@pytest.fixture
def source() -> Iterator[FaultSource]:
    """An HTTP server on loopback with one model file."""
    with FaultSource() as server:
        yield server


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the operator's log to the report of a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    process = getattr(item, "funcargs", {}).get("operator")
    if report.when == "call" and report.failed and process is not None:
        report.sections.append(("operator log", process.tail()))
