"""The chart refuses values that it does not know or that cannot be meant; what it takes is checked by `make verify`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "hack"))

from cluster import build  # noqa: E402

WRONG = {
    "an unknown value": ("--set=replicas=2", "replicas"),
    "a misspelt value": ("--set=operator.nodeselector.disk=fast", "nodeselector"),
    "a pull policy that there is not": ("--set=image.pullPolicy=Sometimes", "/image/pullPolicy"),
    "a registry in capitals": ("--set=image.registry=Registry.example.com", "/image/registry"),
    "a tag with a space": ("--set=image.tag=a b", "/image/tag"),
    "a namespace that cannot be": ("--set=watchNamespaces={Team_A}", "/watchNamespaces/0"),
    "one namespace where a list is meant": ("--set=watchNamespaces=team-a", "/watchNamespaces"),
    "a level that there is not": ("--set=logLevel=LOUD", "/logLevel"),
    "a deadline in words": ("--set=prepare.deadline=soon", "/prepare/deadline"),
    "a size in words": ("--set=store.persistence.size=large", "/store/persistence/size"),
    "memory in words": ("--set=operator.resources.limits.memory=lots", "/operator/resources/limits/memory"),
    "a store that is no bucket": ("--set=store.url=https://example.com/bundles", "/store/url"),
    "an interval in words": ("--set=metrics.serviceMonitor.interval=often", "/metrics/serviceMonitor/interval"),
    "a switch that is neither on nor off": ("--set=networkPolicy.enabled=maybe", "/networkPolicy/enabled"),
}


def _template(*options: str) -> subprocess.CompletedProcess[str]:
    command = [build.ensure(["helm"])["helm"], "template", "keras-operator", ROOT / "charts/keras-operator", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("option", "place"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_refused_by_its_name(option: str, place: str) -> None:
    result = _template(option)
    assert result.returncode != 0
    assert "don't meet the specifications of the schema" in result.stderr
    assert place in result.stderr


def test_the_defaults_are_taken() -> None:
    assert _template().returncode == 0
