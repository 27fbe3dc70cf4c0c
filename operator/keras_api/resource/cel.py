"""CEL rules as the CustomResourceDefinition holds them."""

from __future__ import annotations

from typing import Any


def cel(rule: str, message: str, **more: str) -> dict[str, str]:
    """One entry of ``x-kubernetes-validations``."""
    return {"rule": rule, "message": message, **more}


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """Schema extension that makes the API server enforce CEL rules."""
    return {"x-kubernetes-validations": list(entries)}


def cel_string(text: str) -> str:
    """A text as CEL writes it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
