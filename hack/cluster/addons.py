"""What is installed into a cluster: DNS, metrics and volumes with `up`; monitoring and S3 when asked for."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

from cluster import components, images
from cluster.paths import HERE, STATE
from cluster.target import Target

MANIFESTS = HERE / "manifests"


def manifest(name: str, values: Mapping[str, str]) -> str:
    """The YAML of an add-on with its ${NAMES} replaced; an unknown name is an error."""
    return Template(Path(MANIFESTS, f"{name}.yaml").read_text()).substitute(values)


def install_cluster_set(target: Target) -> None:
    """DNS, metrics and volumes; returns when names resolve. Metrics come some seconds later, with the first scrape."""
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
