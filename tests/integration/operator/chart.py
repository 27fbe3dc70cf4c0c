"""The roles that the chart grants, and the login of the account that has them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml
from cluster import build
from cluster.apiserver import ApiServer
from kube import Kube, Object

ROOT = Path(__file__).resolve().parents[3]
RBAC = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
NAMESPACE = "keras-system"
ACCOUNT = "keras-operator"


def roles(*options: str) -> list[Object]:
    """The chart's accounts, roles and bindings."""
    helm = build.ensure(["helm"])["helm"]
    command = [helm, "template", "keras-operator", ROOT / "charts/keras-operator", "-n", NAMESPACE, *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return [obj for obj in yaml.safe_load_all(output) if obj and obj["kind"] in RBAC]


def login(kube: Kube, server: ApiServer, folder: Path) -> Path:
    """A kubeconfig with the token of the operator's ServiceAccount."""
    config: dict[str, Any] = yaml.safe_load(server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": kube.token(NAMESPACE, ACCOUNT)}
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path
