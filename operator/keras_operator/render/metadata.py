"""apiVersion, kind and metadata of every child."""

from __future__ import annotations

from keras_api import resource
from keras_api.resource import KerasModel
from keras_operator.kube.kinds import Kind, Object
from keras_operator.naming.labels import SERVER, labels


def child_object(
    kind: Kind, model: KerasModel, name: str, component: str = SERVER, revision: str | None = None
) -> Object:
    """apiVersion, kind and metadata of a child; the garbage collector deletes it with the model."""
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
