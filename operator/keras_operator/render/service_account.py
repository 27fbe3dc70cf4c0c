"""The ServiceAccount of a model's pods: without rights, it only says to the store which namespace asks."""

from __future__ import annotations

from keras_api.resource import KerasModel
from keras_operator.kube.kinds import SERVICE_ACCOUNT, Object
from keras_operator.naming.labels import child


def service_account(model: KerasModel) -> Object:
    """The ServiceAccount of the prepare and serving pods."""
    return {**child(SERVICE_ACCOUNT, model, model.metadata.name), "automountServiceAccountToken": False}
