"""A Kubernetes API without nodes for integration tests: etcd and kube-apiserver on free loopback ports, without root.

    with ApiServer(tmp_path, controller_manager=True) as server:
        kubernetes.config.load_kube_config(str(server.kubeconfig))

Several instances can run in parallel. The processes end with the thread that started them, even if it is killed.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster import build, components, pki, toolchain
from cluster.commands import wait_until
from cluster.console import ClusterError
from cluster.health import answers
from cluster.ports import Port

START_SECONDS = 60
STOP_SECONDS = 10

# Accepts any ServiceMonitor, for an API server that needs the kind but not the Prometheus operator.
SERVICE_MONITOR_CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


class ApiServer:
    """An API server with its state in a folder. `stop()` and `start()` keep its objects, address and credentials."""

    def __init__(self, folder: Path, *, controller_manager: bool = False, flags: Sequence[str] = ()) -> None:
        """`controller_manager` adds garbage collection, service account tokens, ReplicaSets and so on.

        `flags` are additional options of kube-apiserver.
        """
        self.folder = folder.resolve()
        self.controller_manager = controller_manager
        self.flags = flags
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self._ports = [Port() for _ in range(3)]
        self._layout: components.Layout | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """URL of the API server, which is known after the first start."""
        if self._layout is None:
            raise ClusterError("the API server has no address before its first start")
        return f"https://127.0.0.1:{self._layout.api_port}"

    def start(self) -> None:
        """Start the processes that do not run, and wait until they are ready. Raises ClusterError with a log's end."""
        programs = build.ensure(build.API_SERVER)
        layout = self._layout = self._layout or self._prepare()
        try:
            self._start("etcd", components.etcd(programs["etcd"], layout))
            self._wait("etcd", f"http://127.0.0.1:{layout.etcd_port}/readyz")
            api_server = components.kube_apiserver(programs["kube-apiserver"], layout, address=None)
            self._start("kube-apiserver", [*api_server, *self.flags])
            self._wait("kube-apiserver", f"{self.url}/readyz", layout.pki)
            if self.controller_manager:
                program = programs["kube-controller-manager"]
                self._start("kube-controller-manager", components.kube_controller_manager(program, layout, port=0))
        except BaseException:
            self.stop()
            raise

    def stop(self, *names: str) -> None:
        """Stop all processes in reverse order, or only the named ones. Can be repeated."""
        for name, process in reversed(list(self._running.items())):
            if names and name not in names:
                continue
            # The API server is killed, because it would wait a minute for its watchers. etcd ends in order.
            if name == "etcd":
                process.terminate()
            else:
                process.kill()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)
            del self._running[name]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> components.Layout:
        toolchain.ensure_packages(toolchain.CERTIFICATE_PACKAGES)
        etcd, peer, api = (port.number for port in self._ports)
        layout = components.Layout(self.folder, etcd_port=etcd, etcd_peer_port=peer, api_port=api)
        wanted = pki.certificates(components.NODE, ["127.0.0.1"], components.API_SERVICE)
        pki.issue(layout.pki, [each for each in wanted if each.name not in ("kubelet-server", "kubelet", "kube-proxy")])
        for client in ("admin", "controller-manager"):
            layout.kubeconfig(client).write_text(pki.kubeconfig(layout.pki, client, f"https://127.0.0.1:{api}"))
        return layout

    def _start(self, name: str, command: components.Command) -> None:
        if name in self._running:
            return
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ClusterError("setpriv is not installed: install the package util-linux")
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [setpriv, "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt in the terminal reaches only the tests
            )

    def _wait(self, name: str, url: str, credentials: Path | None = None) -> None:
        process = self._running[name]

        def ready() -> bool:
            if process.poll() is not None:
                log = self.folder / f"{name}.log"
                last = log.read_text(errors="replace").splitlines()[-5:]
                raise ClusterError("\n  ".join([f"{name} exited at startup ({process.returncode}), see {log}:", *last]))
            return answers(url, credentials)

        wait_until(ready, f"{name} was not ready", timeout=START_SECONDS, interval=0.05)
