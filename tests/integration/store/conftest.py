"""Real components for the tests of the store: a kube-apiserver, an S3 service, and the store as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "hack"), str(Path(__file__).parent)]

from cluster import build  # noqa: E402
from cluster.apiserver import ApiServer  # noqa: E402
from cluster.ports import Port  # noqa: E402

STORE_NAMESPACE = "keras-system"
READER = "operator"
START_SECONDS = 20.0


@dataclass(frozen=True)
class StoreProcess:
    """`python -m keras_store serve`, running."""

    url: str
    pid: int
    log: Path


@dataclass(frozen=True)
class S3Service:
    """versitygw over a folder."""

    endpoint: str
    folder: Path
    access_key: str = "root-key"
    secret_key: str = "root-secret"

    @property
    def credentials(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


class Cluster:
    """Requests of the tests to the API server."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self._kubectl = build.ensure(["kubectl"])["kubectl"]

    def kubectl(self, *arguments: str) -> str:
        command = [self._kubectl, "--kubeconfig", self.server.kubeconfig, "--request-timeout=30s", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def token(self, namespace: str, account: str = "model", audience: str = "keras-store") -> str:
        """A real token, by the TokenRequest API."""
        return self.kubectl("create", "token", account, f"--namespace={namespace}", f"--audience={audience}")

    def account(self, namespace: str, name: str) -> None:
        self.kubectl("create", "serviceaccount", name, f"--namespace={namespace}")

    @property
    def ca_file(self) -> Path:
        return self.server.folder / "pki" / "ca.crt"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server with the store's account and two teams' namespaces."""
    with ApiServer(tmp_path_factory.mktemp("api")) as server:
        cluster = Cluster(server)
        for namespace in (STORE_NAMESPACE, "team-a", "team-b"):
            cluster.kubectl("create", "namespace", namespace)
            cluster.account(namespace, "model")
        for namespace in (STORE_NAMESPACE, "team-b"):
            cluster.account(namespace, READER)
        cluster.kubectl(
            "create", "clusterrolebinding", "store", "--clusterrole=system:auth-delegator",
            f"--serviceaccount={STORE_NAMESPACE}:model",
        )  # fmt: skip
        yield cluster


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Free ports, reserved for the servers of the tests."""
    kept: list[Port] = []

    def find() -> int:
        kept.append(Port())
        return kept[-1].number

    return find


@pytest.fixture(scope="session")
def run_store(free_port: Callable[[], int]) -> Iterator[Callable[..., StoreProcess]]:
    """Start a store process with more arguments."""
    with ExitStack() as running:

        def start(folder: Path, *arguments: object) -> StoreProcess:
            port = free_port()
            command = [sys.executable, "-m", "keras_store", "serve", "--root", str(folder / "data"),
                       "--host", "127.0.0.1", "--port", str(port), *map(str, arguments)]  # fmt: skip
            pid = running.enter_context(_process(command, folder / "store.log", f"http://127.0.0.1:{port}/healthz"))
            return StoreProcess(f"http://127.0.0.1:{port}", pid, folder / "store.log")

        yield start


@pytest.fixture(scope="session")
def store(
    cluster: Cluster, run_store: Callable[..., StoreProcess], tmp_path_factory: pytest.TempPathFactory
) -> StoreProcess:
    """A store that checks tokens with the API server, as in a cluster."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "token").write_text(cluster.kubectl("create", "token", "model", f"--namespace={STORE_NAMESPACE}"))
    return run_store(
        folder,
        f"--kubernetes-url={cluster.server.url}",
        f"--kubernetes-ca={cluster.ca_file}",
        f"--kubernetes-token-file={folder / 'token'}",
        f"--reader=system:serviceaccount:{STORE_NAMESPACE}:{READER}",
    )


@pytest.fixture(scope="session")
def s3(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """An S3 service with the bucket `models`."""
    program = build.ensure(["versitygw"])["versitygw"]
    port, folder = free_port(), tmp_path_factory.mktemp("s3")
    (folder / "buckets" / "models").mkdir(parents=True)
    service = S3Service(f"http://127.0.0.1:{port}", folder / "buckets")
    keys = {"ROOT_ACCESS_KEY": service.access_key, "ROOT_SECRET_KEY": service.secret_key}
    command = [program, "--port", f"127.0.0.1:{port}", "--health", "/health", "posix", service.folder]
    with _process(command, folder / "s3.log", f"{service.endpoint}/health", os.environ | keys):
        yield service


@contextmanager
def _process(command: list[str | Path], log: Path, health: str, environ: dict[str, str] | None = None) -> Iterator[int]:
    """Run a server until the block ends; its process id. Ready when the health address answers."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environ) as process:
        try:
            _await(process, health, log)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _await(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(health, timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    pytest.fail(f"{process.args!r} did not become ready:\n{log.read_text()}")


@pytest.fixture
def token_file(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Environment of a pod with this token."""

    def write(token: str) -> dict[str, str]:
        path = tmp_path / "token"
        path.write_text(token)
        return {"KERAS_STORE_TOKEN_FILE": str(path)}

    return write
