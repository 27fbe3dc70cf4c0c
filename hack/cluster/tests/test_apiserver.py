"""The API server of the integration tests. It starts within seconds if its programs are built."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import build
from cluster.apiserver import ApiServer
from cluster.commands import run, wait_until
from cluster.daemons import started


@pytest.fixture(scope="module")
def kubectl() -> Path:
    return build.ensure(build.API_SERVER)["kubectl"]


def test_a_restart_keeps_objects_and_address(tmp_path: Path, kubectl: Path) -> None:
    with ApiServer(tmp_path) as server:
        address = server.url
        run([kubectl, f"--kubeconfig={server.kubeconfig}", "create", "configmap", "kept"])
        server.stop()
        server.start()
        assert server.url == address
        found = run([kubectl, f"--kubeconfig={server.kubeconfig}", "get", "configmap", "kept", "-o", "json"])
        assert json.loads(found)["metadata"]["name"] == "kept"


def test_two_api_servers_run_in_parallel(tmp_path: Path, kubectl: Path) -> None:
    with ApiServer(tmp_path / "one") as one, ApiServer(tmp_path / "two") as two:
        run([kubectl, f"--kubeconfig={one.kubeconfig}", "create", "namespace", "only-here"])
        assert "only-here" not in run([kubectl, f"--kubeconfig={two.kubeconfig}", "get", "namespaces", "-o", "name"])


def test_with_the_controller_manager_namespaces_get_a_service_account(tmp_path: Path, kubectl: Path) -> None:
    with ApiServer(tmp_path, controller_manager=True) as server:
        get = [kubectl, f"--kubeconfig={server.kubeconfig}", "get", "sa", "default", "--ignore-not-found", "-o", "name"]
        wait_until(lambda: bool(run(get)), "there was no service account", timeout=30)


def test_a_killed_test_run_leaves_no_processes(tmp_path: Path, kubectl: Path) -> None:
    script = (
        "import sys, time, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "from cluster.apiserver import ApiServer\n"
        "server = ApiServer(pathlib.Path(sys.argv[2])); server.start()\n"
        "print(*[process.pid for process in server._running.values()], flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).resolve().parents[2]), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    assert len(pids) == 2
    wait_until(lambda: not any(started(pid) for pid in pids), "etcd or kube-apiserver still ran", timeout=5)
