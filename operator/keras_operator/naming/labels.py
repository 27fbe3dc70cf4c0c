"""Labels and annotations of children and pods."""

from __future__ import annotations

from collections.abc import Mapping

from keras_operator.kube.identity import MANAGED_BY, MANAGER

COMPONENT = "app.kubernetes.io/component"
MODEL = "keras-operator.dev/model"
REVISION = "keras-operator.dev/revision"
ATTEMPT = "keras-operator.dev/attempt"
MEMORY_MIB = "keras-operator.dev/memory-mib"
MEMORY_FACTOR = "keras-operator.dev/memory-factor"
SERVING = "keras-operator.dev/serving"

SERVER = "server"
"""Value of the label `COMPONENT` of serving pods, and of all children that belong to them."""

# The operator and its selectors read these keys: a podTemplate cannot change them.
RESERVED_PREFIXES = ("keras-operator.dev/", "app.kubernetes.io/")


def labels(model: str, component: str, revision: str | None = None) -> dict[str, str]:
    """Labels of a child or pod.

    Args:
        model: name of the model.
        component: `SERVER`, or the name of a task.
        revision: the revision, where the object belongs to one.
    """
    found = {
        "app.kubernetes.io/name": f"keras-{component}",
        "app.kubernetes.io/instance": model,
        COMPONENT: component,
        MANAGED_BY: MANAGER,
        "app.kubernetes.io/part-of": MANAGER,
        MODEL: model,
    }
    return {**found, REVISION: revision} if revision else found


def server_selector(model: str) -> dict[str, str]:
    """Labels that select the serving pods of one model only: the operator alone sets both keys."""
    return {MODEL: model, COMPONENT: SERVER}


def selector(required: Mapping[str, str]) -> str:
    """Labels as a query parameter."""
    return ",".join(f"{key}={value}" for key, value in required.items())
