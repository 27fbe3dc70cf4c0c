"""The ServiceAccount of a model's pods: it has no permissions; its tokens identify the namespace to the store."""

from __future__ import annotations

from collections.abc import Iterator

from keras_operator.components.base import Component, Context
from keras_operator.kube.kinds import SERVICE_ACCOUNT, ChildKind, Object
from keras_operator.render.metadata import child_object


class ServiceAccountComponent(Component):
    """One ServiceAccount for the pods of Jobs and the serving pods."""

    child = ChildKind(SERVICE_ACCOUNT)
    # A pod without its ServiceAccount is rejected, and Kubernetes waits before it retries.
    wave = 0

    def desired(self, context: Context) -> Iterator[Object]:
        """The ServiceAccount."""
        model = context.model
        yield {**child_object(SERVICE_ACCOUNT, model, model.metadata.name), "automountServiceAccountToken": False}
