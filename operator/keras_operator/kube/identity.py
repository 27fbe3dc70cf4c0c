"""How the operator identifies itself to the API server, and how it recognises its own objects."""

from __future__ import annotations

MANAGER = "keras-operator"
"""The operator's field manager, and the value of the label ``app.kubernetes.io/managed-by``."""

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_SELECTOR = f"{MANAGED_BY}={MANAGER}"
"""Label selector of every object that the operator creates."""
