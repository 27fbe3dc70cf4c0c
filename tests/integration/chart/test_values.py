"""The chart rejects unknown and invalid values. `make verify` checks the output for valid ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "hack"))

from cluster import build  # noqa: E402

INVALID = {
    "an unknown value": ("--set=replicas=2", "replicas"),
    "a misspelt value": ("--set=operator.nodeselector.disk=fast", "nodeselector"),
    "an unknown pull policy": ("--set=image.pullPolicy=Sometimes", "/image/pullPolicy"),
    "a registry in capitals": ("--set=image.registry=Registry.example.com", "/image/registry"),
    "a tag with a space": ("--set=image.tag=a b", "/image/tag"),
    "an invalid name of a namespace": ("--set=watchNamespaces={Team_A}", "/watchNamespaces/0"),
    "a string instead of a list of namespaces": ("--set=watchNamespaces=team-a", "/watchNamespaces"),
    "an unknown log level": ("--set=logLevel=LOUD", "/logLevel"),
    "a deadline that is not a duration": ("--set=prepare.deadline=soon", "/prepare/deadline"),
    "a size that is not a quantity": ("--set=store.persistence.size=large", "/store/persistence/size"),
    "memory that is not a quantity": (
        "--set=operator.resources.limits.memory=lots",
        "/operator/resources/limits/memory",
    ),
    "a store that is not a bucket": ("--set=store.url=https://example.com/bundles", "/store/url"),
    "an interval that is not a duration": (
        "--set=metrics.serviceMonitor.interval=often",
        "/metrics/serviceMonitor/interval",
    ),
    "a string instead of a boolean": ("--set=networkPolicy.enabled=maybe", "/networkPolicy/enabled"),
}


def _template(*options: str) -> subprocess.CompletedProcess[str]:
    command = [build.ensure(["helm"])["helm"], "template", "keras-operator", ROOT / "charts/keras-operator", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("option", "place"), INVALID.values(), ids=INVALID)
def test_an_invalid_value_is_rejected_by_its_name(option: str, place: str) -> None:
    result = _template(option)
    assert result.returncode != 0
    assert "don't meet the specifications of the schema" in result.stderr
    assert place in result.stderr


def test_the_defaults_are_valid() -> None:
    assert _template().returncode == 0
