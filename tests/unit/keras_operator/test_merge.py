"""The user's podTemplate is merged over the operator's, and invalid fields are reported."""

from __future__ import annotations

from typing import Any

import pytest

from keras_api.resource import SpecError
from keras_operator.render.merge import merge

OURS: dict[str, Any] = {
    "terminationGracePeriodSeconds": 50,
    "securityContext": {"runAsUser": 65532, "fsGroup": 65532},
    "containers": [{"name": "server", "image": "s", "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
    "envFrom": [{"secretRef": {"name": "ours"}}],
}


@pytest.mark.parametrize(
    ("theirs", "path", "expected"),
    [
        ({"terminationGracePeriodSeconds": 9}, ("terminationGracePeriodSeconds",), 9),
        ({"securityContext": {"fsGroup": 1}}, ("securityContext",), {"runAsUser": 65532, "fsGroup": 1}),
        ({"securityContext": {"fsGroup": None}}, ("securityContext",), {"runAsUser": 65532}),
        ({"containers": [{"name": "server", "env": [{"name": "A", "value": "b"}]}]}, ("containers", 0, "image"), "s"),
        ({"containers": [{"name": "sidecar", "image": "x"}]}, ("containers", 1), {"name": "sidecar", "image": "x"}),
        (
            {"containers": [{"name": "server", "volumeMounts": [{"name": "tmp", "mountPath": "/cache"}]}]},
            ("containers", 0, "volumeMounts"),
            [{"name": "tmp", "mountPath": "/tmp"}, {"name": "tmp", "mountPath": "/cache"}],
        ),
        (
            {"envFrom": [{"secretRef": {"name": "theirs"}}]},
            ("envFrom",),
            [{"secretRef": {"name": "ours"}}, {"secretRef": {"name": "theirs"}}],
        ),
        ({"tolerations": [{"key": "gpu"}]}, ("tolerations",), [{"key": "gpu"}]),
        (
            {"volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]},
            ("volumes", 0, "emptyDir", "medium"),
            "Memory",
        ),
    ],
)
def test_the_users_fields_override_the_operators(theirs: dict[str, Any], path: tuple[Any, ...], expected: Any) -> None:
    found: Any = merge(OURS, theirs, "spec")
    for step in path:
        found = found[step]
    assert found == expected


def test_the_operators_fields_are_not_modified_in_place() -> None:
    merge(OURS, {"containers": [{"name": "server", "image": "t"}]}, "spec")
    assert OURS["containers"][0]["image"] == "s"


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"containers": [{"image": "x"}]}, r"spec.containers\[0\] must be a map with 'name'"),
        ({"containers": {"name": "server"}}, "spec.containers must be a list, not a map"),
        ({"securityContext": []}, "spec.securityContext must be a map, not a list"),
    ],
)
def test_an_invalid_field_is_reported_with_its_path(theirs: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        merge(OURS, theirs, "spec")
