"""Checks that Kubernetes accepts the output of the chart and every YAML file in examples/.

kubeconform validates them strictly with schemas from the OpenAPI document of an API server. That API server, which is
started for this check, also creates them in a dry run, which evaluates the CEL rules.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster import build
from cluster.apiserver import ApiServer
from cluster.console import ClusterError

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts/keras-operator"
CRD = ROOT / "crds/kerasmodels.keras-operator.dev.yaml"
SERVICE_MONITOR_CRD = "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"
DEFINED_KINDS = ("KerasModel", "ServiceMonitor")
NAMESPACES = ("keras-system", "team-a", "team-b")

# Together, these sets of values render every line of every template.
VALUES = {
    "defaults": [],
    "namespaces": ["--set=watchNamespaces={team-a,team-b}", "--set=image.pullSecrets={registry}"],
    "everything": [
        "--set=metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=prometheus",
        "--set=metrics.serviceMonitor.interval=15s,networkPolicy.enabled=true,store.persistence.storageClass=fast",
        '--set-json=networkPolicy.metricsFrom=[{"namespaceSelector":{}}]',
        '--set-json=operator.tolerations=[{"operator":"Exists"}]',
        "--set=operator.nodeSelector.disk=fast,operator.priorityClassName=high,operator.podAnnotations.a=b",
        '--set-json=operator.affinity={"nodeAffinity":{}}',
    ],
    "external-store": [
        "--set=store.url=s3://bundles/keras,store.secretName=bundles,metrics.serviceMonitor.enabled=true"
    ],
    "no-volume": ["--set=store.persistence.enabled=false,crds.install=false"],
}


class CheckError(Exception):
    """A manifest was rejected, or a program failed; the text names it and the cause."""


def main() -> int:
    """Check everything; returns the exit code."""
    try:
        check()
    except (CheckError, ClusterError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def check() -> None:
    """Check everything.

    Raises:
        CheckError: the first check that fails.
    """
    programs = build.ensure(["helm", "kubectl", "kubeconform", *build.API_SERVER])
    with tempfile.TemporaryDirectory(prefix="keras-operator-manifests-") as folder:
        manifests = [*render(programs["helm"], Path(folder)), *sorted((ROOT / "examples").rglob("*.yaml"))]
        with ApiServer(Path(folder) / "apiserver") as server:
            kubectl = [str(programs["kubectl"]), f"--kubeconfig={server.kubeconfig}", "--request-timeout=30s"]
            run(*kubectl, "create", "-f", str(CRD))
            run(*kubectl, "create", "-f", "-", stdin=service_monitor_crd())
            for namespace in NAMESPACES:
                run(*kubectl, "create", "namespace", namespace)
                # A pod template that violates the restricted standard causes a warning, which is an error below.
                run(*kubectl, "label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted")
            schemas = write_schemas(openapi(kubectl), Path(folder) / "schemas")
            location = f"{schemas}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
            conform = [str(programs["kubeconform"]), "-strict", "-summary", "-schema-location", location]
            print(run(*conform, *map(str, manifests)).strip())
            for manifest in manifests:
                dry_run = ["--dry-run=server", "--validate=strict", "--warnings-as-errors"]
                run(*kubectl, "apply", "--server-side", "--force-conflicts", *dry_run, "-f", str(manifest))


def run(*command: str, stdin: str = "") -> str:
    """Run a command and return its output."""
    # Without proxies, because all connections are local.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    try:
        result = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=120, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"`{' '.join(command)}` did not end within 2 minutes") from error
    if result.returncode:
        raise CheckError(f"`{' '.join(command)}` failed:\n{result.stdout}{result.stderr}".rstrip())
    return result.stdout


def render(helm: Path, folder: Path) -> list[Path]:
    """The output of the chart, one file per set of values."""
    files = []
    for name, arguments in VALUES.items():
        command = [str(helm), "template", "keras-operator", str(CHART), "--namespace=keras-system", *arguments]
        files.append(folder / f"chart-{name}.yaml")
        files[-1].write_text(run(*command))
    return files


def service_monitor_crd() -> str:
    """The ServiceMonitor definition, from the Prometheus operator's Go module."""
    source = build.source_of("prometheus-operator")
    return build.module_files(source, "github.com/prometheus-operator/prometheus-operator", SERVICE_MONITOR_CRD)


def openapi(kubectl: list[str]) -> dict[str, Any]:
    """The OpenAPI v2 document of the API server, when it contains the kinds of the new CRDs."""
    deadline = time.monotonic() + 60
    while True:
        document: dict[str, Any] = json.loads(run(*kubectl, "get", "--raw", "/openapi/v2"))
        if all(any(name.endswith(f".{kind}") for name in document["definitions"]) for kind in DEFINED_KINDS):
            return document
        if time.monotonic() > deadline:
            raise CheckError(f"the API server does not publish the schemas of {' and '.join(DEFINED_KINDS)}")
        time.sleep(0.2)


def write_schemas(document: dict[str, Any], folder: Path) -> Path:
    """Write one JSON schema per kind of an OpenAPI v2 document, with the file names that kubeconform uses."""
    folder.mkdir()
    definitions = {name: strict(schema) for name, schema in document["definitions"].items()}
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            group = f"{kind['group'].split('.')[0]}-" if kind["group"] else ""
            used = {other: definitions[other] for other in referenced(name, definitions)}
            text = json.dumps({"$ref": f"#/definitions/{name}", "definitions": used})
            (folder / f"{kind['kind'].lower()}-{group}{kind['version']}.json").write_text(text)
    return folder


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that rejects unknown fields, and accepts numbers for quantities and ports as Kubernetes does."""
    if schema.get("format") == "int-or-string" or "x-kubernetes-int-or-string" in schema:
        return {"type": ["string", "integer"]}
    if str(schema.get("description")).startswith("Quantity is"):
        return {"type": ["string", "number"]}
    schema = dict(schema)
    if "properties" in schema:
        # Each value is a schema, but the mapping is not: a field can have the name `properties`.
        schema["properties"] = {name: strict(field) for name, field in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = strict(schema[key])
    return schema


def referenced(name: str, definitions: dict[str, Any]) -> set[str]:
    """Names of the definitions that `name` refers to, directly or indirectly, including itself."""
    found: set[str] = set()
    pending = [name]
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending += references(definitions[current])
    return found


def references(node: Any) -> Iterator[str]:
    """Names of the definitions that a schema refers to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix("#/definitions/")
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from references(item)


if __name__ == "__main__":
    sys.exit(main())
