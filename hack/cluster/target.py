"""The cluster of add-ons: its API through kubectl, and the registry from which its nodes pull."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cluster import build
from cluster.commands import run
from cluster.components import REGISTRY_PORT
from cluster.console import ClusterError
from cluster.paths import KUBECONFIG

FIELD_MANAGER = "hack-cluster"
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
    def from_environment(cls, *, pushes: bool = True) -> Self:
        """With CLUSTER=current, kubectl's current context and $IMAGE_REGISTRY; otherwise the cluster of this clone.

        A registry is required only to push images.
        """
        if os.environ.get("CLUSTER") != "current":
            return cls.ours()
        registry = os.environ.get("IMAGE_REGISTRY", "")
        if pushes and not registry:
            raise ClusterError("CLUSTER=current needs IMAGE_REGISTRY: a registry that the cluster can pull from")
        return cls(os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config"), registry)

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl and return its output. For another cluster, use the kubectl in PATH if there is one."""
        theirs = None if self == Target.ours() else shutil.which("kubectl")
        program = theirs or build.ensure(["kubectl"])["kubectl"]
        return run([program, *arguments], stdin=stdin, timeout=timeout, env={"KUBECONFIG": self.kubeconfig})

    def apply(self, manifest: str) -> None:
        """Apply YAML documents with server-side apply, and resolve conflicts by force."""
        self.kubectl(
            "apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "-f", "-", stdin=manifest
        )

    def live(self, manifest: str) -> list[dict[str, Any]]:
        """The objects of YAML documents that exist in the cluster. A kind that is not installed has no objects."""
        arguments = ["get", "--ignore-not-found", "--show-managed-fields", "-o", "json", "-f", "-"]
        found: list[dict[str, Any]] = []
        for document in manifest.split("\n---\n"):
            try:
                answer = self.kubectl(*arguments, stdin=document)
            except ClusterError as error:
                if "no matches for kind" not in str(error):
                    raise
                continue
            found += _items(answer)
        return found

    def is_others(self, resource: str) -> bool:
        """Whether the cluster has `resource` (kind/name) and another tool created it."""
        answer = self.kubectl("get", resource, "--ignore-not-found", "--show-managed-fields", "-o", "json")
        return any(not _is_ours(each) for each in _items(answer))

    def require_ours(self, manifest: str) -> None:
        """Raise ClusterError if YAML documents name an object that another tool created."""
        if self == Target.ours():
            return  # a new cluster has no other objects
        others = [each for each in self.live(manifest) if not _is_ours(each)]
        if others:
            named = ", ".join(f"{each['kind']} {each['metadata']['name']}" for each in others)
            raise ClusterError(f"the cluster has objects of this add-on that another tool created: {named}")

    def delete(self, manifest: str) -> None:
        """Delete the objects of YAML documents that `apply` created, and wait until they are deleted."""
        ours = [each for each in self.live(manifest) if _is_ours(each)]
        if ours:
            objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": ours})
            self.kubectl("delete", "--ignore-not-found", "--timeout=300s", "-f", "-", stdin=objects, timeout=320)

    def wait_rolled_out(self, namespace: str, resource: str, *, seconds: int) -> None:
        """Wait until the rollout of `resource` (kind/name) is complete."""
        self.kubectl(
            "rollout", "status", resource, f"--namespace={namespace}", f"--timeout={seconds}s", timeout=seconds + 10
        )


def _items(answer: str) -> list[dict[str, Any]]:
    """The objects in the output of `kubectl get -o json`, which is empty, one object, or a list."""
    if not answer.strip():
        return []
    found: dict[str, Any] = json.loads(answer)
    return found["items"] if found["kind"] == "List" else [found]


def _is_ours(obj: dict[str, Any]) -> bool:
    return any(entry["manager"] == FIELD_MANAGER for entry in obj["metadata"].get("managedFields", []))
