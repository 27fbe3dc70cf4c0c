"""String formats of the fields: quantities, durations, decimals, digests and names, as in the Kubernetes API."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from msgspec import Meta

# The formats of k8s.io/apimachinery without a sign, because no field may be negative.
QUANTITY_PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
# The format of Prometheus: whole numbers, the largest unit first.
INTERVAL_PATTERN = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
DECIMAL_PATTERN = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$"
DIGEST_PATTERN = r"^sha256:[a-f0-9]{64}$"
OBJECT_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
ENDPOINT_PATTERN = r"^https?://[^/@\s]+/?$"
REGION_PATTERN = r"^[a-z0-9-]+$"

# Error messages of the API server: few users read a pattern.
IN_WORDS = {
    QUANTITY_PATTERN: "must be a non-negative quantity such as 500m (half a core) or 2Gi",
    DURATION_PATTERN: "must be a duration such as 30s, 5m or 1h30m",
    INTERVAL_PATTERN: "must be an interval in the format of Prometheus, such as 30s or 1m30s",
    DECIMAL_PATTERN: 'must be a decimal number as a string, such as "0.95" or "1e-3"',
    DIGEST_PATTERN: "must be sha256: followed by 64 lower-case hex digits, as sha256sum prints them",
    OBJECT_NAME_PATTERN: "must be a valid object name: lower-case letters, digits, dots and dashes",
    ENDPOINT_PATTERN: "must be the URL of a service, http(s)://host[:port], without a path or credentials",
    REGION_PATTERN: "must be a region such as us-east-1",
}

Digest = Annotated[str, Meta(pattern=DIGEST_PATTERN, max_length=71)]
Duration = Annotated[str, Meta(pattern=DURATION_PATTERN, max_length=32)]
Interval = Annotated[str, Meta(pattern=INTERVAL_PATTERN, min_length=1, max_length=32)]
DecimalString = Annotated[str, Meta(pattern=DECIMAL_PATTERN, max_length=32)]
ObjectName = Annotated[str, Meta(pattern=OBJECT_NAME_PATTERN, max_length=253)]

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_QUANTITY_UNITS = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def duration_seconds(text: str) -> float:
    """Seconds of a Go-style duration such as ``1h30m`` or ``250ms``.

    Raises:
        ValueError: the text is not such a duration.
    """
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m or 1h30m")
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", text)
    return float(sum(Decimal(number) * _SECONDS[unit] for number, unit in parts))


def quantity(value: str | float) -> Decimal:
    """The value of a Kubernetes quantity such as ``500m``, ``2Gi`` or ``1e3``, in its base unit (cores, bytes).

    Raises:
        ValueError: the value is not a quantity.
    """
    text = str(value)
    match = re.fullmatch(QUANTITY_PATTERN, text)
    if not match:
        raise ValueError(f"{text!r} is not a quantity such as 500m, 2Gi or 1e3")
    unit = match[3] or ""
    if unit in _QUANTITY_UNITS:
        return Decimal(match[1]) * _QUANTITY_UNITS[unit]
    return Decimal(match[1] + unit)
