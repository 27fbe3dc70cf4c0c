"""The manifests of the add-ons."""

import pytest
import yaml
from cluster.addons import MANIFESTS, manifest

VALUES = {
    name: f"registry/{name.lower()}:1"
    for name in (
        "COREDNS",
        "METRICS_SERVER",
        "LOCAL_PATH_PROVISIONER",
        "BUSYBOX",
        "VERSITYGW",
        "PROMETHEUS",
        "PROMETHEUS_OPERATOR",
        "PROMETHEUS_CONFIG_RELOADER",
    )
} | {"DOMAIN": "cluster.local", "DNS_SERVICE": "10.96.0.10", "VOLUMES": "/volumes", "PROMETHEUS_VERSION": "2.42.0"}
NAMES = sorted(file.stem for file in MANIFESTS.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_is_yaml_with_every_name_replaced(name: str) -> None:
    text = manifest(name, VALUES)
    assert "${" not in text
    assert all({"apiVersion", "kind", "metadata"} <= set(document) for document in yaml.safe_load_all(text))


@pytest.mark.parametrize("name", NAMES)
def test_every_container_is_restricted(name: str) -> None:
    for document in yaml.safe_load_all(manifest(name, VALUES)):
        if document["kind"] == "Deployment":
            for container in document["spec"]["template"]["spec"]["containers"]:
                security = container["securityContext"]
                assert security["readOnlyRootFilesystem"] is True
                assert security["allowPrivilegeEscalation"] is False
                assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", ["prometheus-operator", "prometheus", "s3"])
def test_every_object_that_is_removed_has_managed_fields(name: str) -> None:
    # An apply of only a name leaves no entry in managedFields.
    for document in yaml.safe_load_all(manifest(name, VALUES)):
        content = {"metadata.labels": document["metadata"].get("labels"), **document}
        assert any(content[field] for field in content.keys() - {"apiVersion", "kind", "metadata"}), document


def test_the_shell_scripts_of_the_provisioner_keep_their_variables() -> None:
    assert '"$VOL_DIR"' in manifest("local-path", VALUES)
