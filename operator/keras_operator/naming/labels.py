"""Names, labels and owners that every child carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from keras_api import resource
from keras_api.resource import KerasModel
from keras_operator.kube.kinds import Kind, Object

MANAGER = "keras-operator"
"""Our field manager, and the value of app.kubernetes.io/managed-by."""

MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
MODEL = "keras-operator.dev/model"
REVISION = "keras-operator.dev/revision"
ATTEMPT = "keras-operator.dev/attempt"
MEMORY_MIB = "keras-operator.dev/memory-mib"
MEMORY_FACTOR = "keras-operator.dev/memory-factor"
SERVING = "keras-operator.dev/serving"

# Keys that mean something to the operator or to the selectors: a podTemplate cannot change them.
RESERVED_PREFIXES = ("keras-operator.dev/", "app.kubernetes.io/")

Component = Literal["server", "prepare"]

SELECT_OURS = f"{MANAGED_BY}={MANAGER}"


def labels(model: str, component: Component, revision: str | None = None) -> dict[str, str]:
    """Labels of a child or pod."""
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
    """What picks the serving pods of a model, and never another's: both keys are ours alone."""
    return {MODEL: model, COMPONENT: "server"}


def selector(wanted: Mapping[str, str]) -> str:
    """Labels as a query asks for them."""
    return ",".join(f"{key}={value}" for key, value in wanted.items())


def child(
    kind: Kind, model: KerasModel, name: str, component: Component = "server", revision: str | None = None
) -> Object:
    """apiVersion, kind and metadata of a child; deleting the model deletes it."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {
            "name": name,
            "namespace": model.metadata.namespace,
            "labels": labels(model.metadata.name, component, revision),
            "ownerReferences": [
                {
                    "apiVersion": resource.API_VERSION,
                    "kind": resource.KIND,
                    "name": model.metadata.name,
                    "uid": model.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
    }
