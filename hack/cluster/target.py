"""The cluster that add-ons go to: its API, through kubectl, and the registry that its nodes pull from."""

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
        """With CLUSTER=current kubectl's current context and $IMAGE_REGISTRY, else the cluster of this clone.

        Only who pushes images needs a registry.
        """
        if os.environ.get("CLUSTER") != "current":
            return cls.ours()
        registry = os.environ.get("IMAGE_REGISTRY", "")
        if pushes and not registry:
            raise ClusterError("CLUSTER=current needs IMAGE_REGISTRY: a registry that the cluster can pull from")
        return cls(os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config"), registry)

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl; what it printed. With a cluster of their own, users have one of their own, too."""
        theirs = None if self == Target.ours() else shutil.which("kubectl")
        program = theirs or build.ensure(["kubectl"])["kubectl"]
        return run([program, *arguments], stdin=stdin, timeout=timeout, env={"KUBECONFIG": self.kubeconfig})

    def apply(self, manifest: str) -> None:
        """Server-side apply of YAML documents; fields of ours that others took are taken back."""
        self.kubectl(
            "apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "-f", "-", stdin=manifest
        )

    def live(self, manifest: str) -> list[dict[str, Any]]:
        """The objects of YAML documents that the cluster has; of kinds that it does not have there are none."""
        question = ["get", "--ignore-not-found", "--show-managed-fields", "-o", "json", "-f", "-"]
        found: list[dict[str, Any]] = []
        for document in manifest.split("\n---\n"):
            try:
                answer = self.kubectl(*question, stdin=document)
            except ClusterError as error:
                if "no matches for kind" not in str(error):
                    raise
                continue
            found += _items(answer)
        return found

    def is_others(self, resource: str) -> bool:
        """Whether the cluster has `resource` (kind/name) and somebody else made it."""
        answer = self.kubectl("get", resource, "--ignore-not-found", "--show-managed-fields", "-o", "json")
        return any(not _is_ours(each) for each in _items(answer))

    def require_ours(self, manifest: str) -> None:
        """Raise ClusterError when applying YAML documents would take over what somebody else made."""
        if self == Target.ours():
            return  # it began empty
        others = [each for each in self.live(manifest) if not _is_ours(each)]
        if others:
            named = ", ".join(f"{each['kind']} {each['metadata']['name']}" for each in others)
            raise ClusterError(f"the cluster has what this add-on brings, made by somebody else: {named}")

    def delete(self, manifest: str) -> None:
        """Delete what of YAML documents was made by `apply`, and wait until it is gone."""
        ours = [each for each in self.live(manifest) if _is_ours(each)]
        if ours:
            objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": ours})
            self.kubectl("delete", "--ignore-not-found", "--timeout=300s", "-f", "-", stdin=objects, timeout=320)

    def wait_rolled_out(self, namespace: str, resource: str, *, seconds: int) -> None:
        """Wait until `resource` (kind/name) runs in its newest form."""
        self.kubectl(
            "rollout", "status", resource, f"--namespace={namespace}", f"--timeout={seconds}s", timeout=seconds + 10
        )


def _items(answer: str) -> list[dict[str, Any]]:
    """The objects in what `kubectl get -o json` printed: nothing, one, or a list."""
    if not answer.strip():
        return []
    found: dict[str, Any] = json.loads(answer)
    return found["items"] if found["kind"] == "List" else [found]


def _is_ours(obj: dict[str, Any]) -> bool:
    return any(entry["manager"] == FIELD_MANAGER for entry in obj["metadata"].get("managedFields", []))
