"""The Service: one address for all replicas."""

from __future__ import annotations

from collections.abc import Iterator

from keras_operator.components.base import Component, Context
from keras_operator.kube.kinds import SERVICE, ChildKind, Object
from keras_operator.naming.labels import server_selector
from keras_operator.naming.names import PORT
from keras_operator.render.metadata import child_object


class ServiceComponent(Component):
    """The Service in front of the serving pods."""

    child = ChildKind(SERVICE)

    def desired(self, context: Context) -> Iterator[Object]:
        """The Service; it exists before the first pod, so that the address is known."""
        name = context.model.metadata.name
        yield {
            **child_object(SERVICE, context.model, name),
            "spec": {
                "selector": server_selector(name),
                "ports": [
                    {"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"},
                ],
            },
        }
