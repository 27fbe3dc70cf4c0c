"""The ServiceMonitor: tells a Prometheus of the Prometheus operator to scrape the serving pods."""

from __future__ import annotations

from keras_api.resource import KerasModel
from keras_operator.kube.kinds import SERVICE_MONITOR, Object
from keras_operator.naming.labels import MODEL, RESERVED_PREFIXES, REVISION, child, server_selector


def service_monitor(model: KerasModel) -> Object:
    """The ServiceMonitor; every series gets the pod's model and revision as labels."""
    wish = model.spec.monitoring.service_monitor
    obj = child(SERVICE_MONITOR, model, model.metadata.name)
    added = {key: value for key, value in wish.labels.items() if not key.startswith(RESERVED_PREFIXES)}
    obj["metadata"]["labels"] = {**added, **obj["metadata"]["labels"]}
    endpoint = {"port": "http", "path": "/metrics", **({"interval": wish.interval} if wish.interval else {})}
    obj["spec"] = {
        "selector": {"matchLabels": server_selector(model.metadata.name)},
        "podTargetLabels": [MODEL, REVISION],
        "endpoints": [endpoint],
    }
    return obj
