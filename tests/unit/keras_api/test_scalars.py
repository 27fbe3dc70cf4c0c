"""Quantities and durations have the same values as in Kubernetes."""

from decimal import Decimal

import pytest

from keras_api.scalars import duration_seconds, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (2, "2"),
        ("0", "0"),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("2Gi", "2147483648"),
        ("1.5Gi", "1610612736"),
        ("1k", "1000"),
        ("1Ki", "1024"),
        ("1E", "1000000000000000000"),
        ("1Ei", "1152921504606846976"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("5e-3", "0.005"),
        ("100n", "0.0000001"),
        ("100u", "0.0001"),
    ],
)
def test_a_quantity_has_its_kubernetes_value(text: str | int, value: str):
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", " ", "1 Gi", "1GB", "1K", "-1", "+1", "1e", ".", "Gi", "1Gi\n", "0x10", "1_000"])
def test_an_invalid_quantity_is_rejected(text: str):
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0.0), ("30s", 30.0), ("250ms", 0.25), ("1.5h", 5400.0), ("1h30m", 5400.0), ("1m0.5s", 60.5)],
)
def test_a_duration_is_converted_to_seconds(text: str, seconds: float):
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "-5m", "1d", "m", "1h30", "30s\n", "1.s"])
def test_an_invalid_duration_is_rejected(text: str):
    with pytest.raises(ValueError, match="is not a duration"):
        duration_seconds(text)
