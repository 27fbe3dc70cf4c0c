"""The cluster that add-ons go to: its API, through kubectl, and the registry that its nodes pull from."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cluster import build
from cluster.commands import run
from cluster.components import REGISTRY_PORT
from cluster.console import ClusterError
from cluster.paths import KUBECONFIG

LOCAL_REGISTRY = f"127.0.0.1:{REGISTRY_PORT}"


@dataclass(frozen=True)
class Target:
    """A cluster and a registry."""

    kubeconfig: str  # a path, or a list of paths as in $KUBECONFIG
    registry: str

    @classmethod
    def ours(cls) -> Self:
        """The cluster of this clone."""
        return cls(str(KUBECONFIG), LOCAL_REGISTRY)

    @classmethod
    def from_environment(cls) -> Self:
        """With CLUSTER=current kubectl's current context and $IMAGE_REGISTRY, else the cluster of this clone."""
        if os.environ.get("CLUSTER") != "current":
            return cls.ours()
        registry = os.environ.get("IMAGE_REGISTRY")
        if not registry:
            raise ClusterError("CLUSTER=current needs IMAGE_REGISTRY: a registry that the cluster can pull from")
        return cls(os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config"), registry)

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl; what it printed."""
        program = build.ensure(["kubectl"])["kubectl"]
        return run([program, *arguments], stdin=stdin, timeout=timeout, env={"KUBECONFIG": self.kubeconfig})

    def apply(self, manifest: str) -> None:
        """Server-side apply of YAML documents; fields of ours that others took are taken back."""
        self.kubectl(
            "apply", "--server-side", "--force-conflicts", "--field-manager=hack-cluster", "-f", "-", stdin=manifest
        )

    def wait_rolled_out(self, namespace: str, resource: str, *, seconds: int) -> None:
        """Wait until `resource` (kind/name) runs in its newest form."""
        self.kubectl(
            "rollout", "status", resource, f"--namespace={namespace}", f"--timeout={seconds}s", timeout=seconds + 10
        )
