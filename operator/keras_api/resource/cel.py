"""CEL validation rules, in the format of a CustomResourceDefinition."""

from __future__ import annotations

from typing import Any


def cel(rule: str, message: str, **more: str) -> dict[str, str]:
    """One entry of ``x-kubernetes-validations``."""
    return {"rule": rule, "message": message, **more}


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """Schema extension with CEL rules, which the API server enforces."""
    return {"x-kubernetes-validations": list(entries)}


def cel_string(text: str) -> str:
    """A CEL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
