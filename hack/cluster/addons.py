"""The add-ons of a cluster: `up` installs DNS, metrics and volumes; monitoring and S3 are installed on request."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from string import Template

from cluster import build, components, images
from cluster.console import step
from cluster.paths import HERE, STATE
from cluster.target import Target

MANIFESTS = HERE / "manifests"


def manifest(name: str, values: Mapping[str, str]) -> str:
    """The YAML of an add-on with its ${NAMES} replaced. An unknown name is an error."""
    return Template(Path(MANIFESTS, f"{name}.yaml").read_text()).substitute(values)


def install_cluster_set(target: Target) -> None:
    """Install DNS, metrics and volumes, and wait for DNS and volumes. Metrics are available after the first scrape."""
    references = images.push_programs(target.registry, ["coredns", "metrics-server", "local-path-provisioner"])
    values = {
        "COREDNS": references["coredns"],
        "METRICS_SERVER": references["metrics-server"],
        "LOCAL_PATH_PROVISIONER": references["local-path-provisioner"],
        "BUSYBOX": images.push_busybox(target.registry),
        "DOMAIN": components.DOMAIN,
        "DNS_SERVICE": components.DNS_SERVICE,
        "VOLUMES": str(STATE / "volumes"),
    }
    target.apply("\n---\n".join(manifest(name, values) for name in ("coredns", "local-path", "metrics-server")))
    target.wait_rolled_out("kube-system", "deployment/coredns", seconds=120)
    target.wait_rolled_out("local-path-storage", "deployment/local-path-provisioner", seconds=120)


def install_monitoring(target: Target) -> None:
    """Install the Prometheus operator and a Prometheus that scrapes every ServiceMonitor, and wait for both."""
    references = images.push_programs(target.registry, build.SETS["monitoring"])
    definitions = _monitoring_definitions()
    target.require_ours(f"{definitions}\n---\n{_names('prometheus-operator')}\n---\n{_names('prometheus')}")
    target.apply(definitions)
    target.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all", timeout=70)
    values = {
        "PROMETHEUS_OPERATOR": references["prometheus-operator"],
        "PROMETHEUS_CONFIG_RELOADER": references["prometheus-config-reloader"],
        "PROMETHEUS": references["prometheus"],
        "PROMETHEUS_VERSION": build.PROMETHEUS,
    }
    target.apply(manifest("prometheus-operator", values) + "\n---\n" + manifest("prometheus", values))
    target.wait_rolled_out("monitoring", "deployment/prometheus-operator", seconds=120)
    target.kubectl(
        "wait", "--for=condition=Available", "--timeout=180s", "-n", "monitoring", "prometheus/prometheus", timeout=190
    )
    # Available may refer to the pods that are being replaced.
    target.wait_rolled_out("monitoring", "statefulset/prometheus-prometheus", seconds=120)


def install_s3(target: Target) -> None:
    """Install an S3 service with the bucket `models` and its credentials in the Secret s3/s3-credentials."""
    references = images.push_programs(target.registry, ["versitygw"])
    values = {"VERSITYGW": references["versitygw"], "BUSYBOX": images.push_busybox(target.registry)}
    target.require_ours(_names("s3"))
    namespace, _, rest = manifest("s3", values).partition("\n---\n")
    target.apply(namespace)
    if not target.kubectl("get", "secret", "s3-credentials", "-n", "s3", "--ignore-not-found", "-o", "name").strip():
        target.apply(json.dumps(_new_credentials()))
    target.apply(rest)
    target.wait_rolled_out("s3", "deployment/s3", seconds=120)


def _new_credentials() -> dict[str, object]:
    """A Secret with the usual names of environment variables, which is created once per cluster."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s3-credentials", "namespace": "s3"},
        "stringData": {
            "AWS_ACCESS_KEY_ID": "keras-" + secrets.token_hex(6),
            "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
        },
    }


def remove(target: Target, name: str) -> None:
    """Remove an add-on from the cluster. Objects of the same name that another tool created are kept."""
    with step(f"removing {name}"):
        if name == "monitoring":
            # The Prometheus is deleted before its operator, and the operator before its kinds.
            target.delete(_names("prometheus"))
            target.delete(_names("prometheus-operator"))
            target.delete(_monitoring_definitions())
        else:
            target.delete(_names(name))


def _names(name: str) -> str:
    """The YAML of an add-on with placeholders for images and settings, which is sufficient to name its objects."""
    text = Path(MANIFESTS, f"{name}.yaml").read_text()
    return manifest(name, dict.fromkeys(Template(text).get_identifiers(), "unknown"))


def _monitoring_definitions() -> str:
    """The CRDs of the Prometheus operator."""
    source = build.source_of("prometheus-operator")
    module = "github.com/prometheus-operator/prometheus-operator"
    return build.module_files(source, module, "example/prometheus-operator-crd/*.yaml")


ADDONS = {"monitoring": install_monitoring, "s3": install_s3}
