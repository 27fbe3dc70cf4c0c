"""Settings are read from the environment, and an invalid one is named."""

from __future__ import annotations

import pytest

from keras_operator.settings import SettingsError, read_settings

REQUIRED = {
    "KERAS_OPERATOR_SERVER_IMAGE": "server:1",
    "KERAS_OPERATOR_PIPELINE_IMAGE": "pipeline:1",
    "KERAS_OPERATOR_STORE_URL": "http://store:8080/",
}


def test_a_missing_setting_has_its_default() -> None:
    settings = read_settings({**REQUIRED, "KERAS_OPERATOR_STORE_SECRET": ""})
    assert settings.prepare_deadline == 3600
    assert settings.namespaces == (None,)
    assert settings.store_url == "http://store:8080"


def test_values_are_read_in_kubernetes_formats() -> None:
    settings = read_settings(
        {
            **REQUIRED,
            "KERAS_OPERATOR_WATCH_NAMESPACES": "a, b",
            "KERAS_OPERATOR_PREPARE_DEADLINE": "1h30m",
            "KERAS_OPERATOR_PREPARE_MEMORY": "4Gi",
            "KERAS_OPERATOR_MAX_SOURCE_SIZE": "2Gi",
        }
    )
    assert settings.namespaces == ("a", "b")
    assert settings.prepare_deadline == 5400
    assert settings.prepare_memory == 4 * 1024**3
    assert settings.max_source_size == 2 * 1024**3


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_required_setting_is_an_error(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        read_settings({key: value for key, value in REQUIRED.items() if key != name})


def test_a_lease_needs_the_name_of_the_pod_that_may_hold_it() -> None:
    lease = {"KERAS_OPERATOR_LEASE": "keras-system/keras-operator"}
    with pytest.raises(SettingsError, match="KERAS_OPERATOR_LEASE needs KERAS_OPERATOR_POD_NAME"):
        read_settings({**REQUIRED, **lease})
    assert read_settings({**REQUIRED, **lease, "KERAS_OPERATOR_POD_NAME": "a"}).pod_name == "a"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STORE_URL", "ftp://store"),
        ("PREPARE_DEADLINE", "an hour"),
        ("MAX_SOURCE_SIZE", "big"),
        ("CONCURRENCY", "0"),
        ("LISTEN", "8080"),
        ("LOG_LEVEL", "LOUD"),
        ("LEASE", "keras-operator"),
        ("REQUEST_TIMEOUT", "soon"),
        ("IMAGE_PULL_POLICY", "Sometimes"),
    ],
)
def test_an_invalid_setting_is_rejected_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"KERAS_OPERATOR_{name}='{value}'"):
        read_settings({**REQUIRED, f"KERAS_OPERATOR_{name}": value})
