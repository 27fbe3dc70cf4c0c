"""The Service: one address for all replicas."""

from __future__ import annotations

from keras_api.resource import KerasModel
from keras_operator.kube.kinds import SERVICE, Object
from keras_operator.naming.labels import child, server_selector
from keras_operator.naming.names import PORT


def service(model: KerasModel) -> Object:
    """The Service in front of the serving pods."""
    return {
        **child(SERVICE, model, model.metadata.name),
        "spec": {
            "selector": server_selector(model.metadata.name),
            "ports": [
                {"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"},
            ],
        },
    }
