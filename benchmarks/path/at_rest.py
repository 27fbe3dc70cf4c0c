"""Fifty models beside each other on the cluster: what each costs in writes until it is served, and all of them at rest.

Each model has a pod of its own that serves; the writes are those that the operator counts of its own requests.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from path.on_cluster import MODELS, Rounds, condition, k8s, until
from row import Row

MODELS_AT_REST = 50
REST_SECONDS = 60
# Of the operator's children and status patches, and an Event.
WRITES_PER_MODEL = 9
# What a pod asks of the node, so that fifty find room on a small one.
LITTLE = {"requests": {"cpu": "5m", "memory": "64Mi"}}
# A node has not the room to prepare many at once: to say so of those that wait would be more writes.
AT_ONCE = 2

_WRITE = re.compile(
    r'^keras_operator_api_request_duration_seconds_count\{.*verb="(?:apply|patch|delete|create)".*\} (\S+)$', re.M
)


def measure(file: Path) -> list[Row]:
    """Serve fifty models, then let them be."""
    with Rounds.in_namespace(file) as rounds:
        before = operator_writes()
        for begin in range(0, MODELS_AT_REST, AT_ONCE):
            for number in range(begin, begin + AT_ONCE):
                model = rounds.model()
                model["metadata"]["name"] = f"digits-{number:02}"
                model["spec"]["serving"]["resources"] = LITTLE
                rounds.api.create(MODELS, model)
            until(
                lambda: all(condition(each, "Ready") for each in rounds.api.list(MODELS)),
                f"{begin + AT_ONCE} models to be Ready",
                look_seconds=0.5,
            )
        until(settled, "the operator to have nothing to write", look_seconds=0)
        served = operator_writes()
        time.sleep(REST_SECONDS)
        resting = operator_writes() - served
    each = (served - before) / MODELS_AT_REST
    what = f"{REST_SECONDS} s at rest with {MODELS_AT_REST} models on the cluster: writes"
    return [
        Row(f"API writes for a new model on the cluster, mean of {MODELS_AT_REST}", each, WRITES_PER_MODEL, "", []),
        Row(what, resting, 0, "", []),
    ]


def settled() -> bool:
    """Whether nothing was written for a while; the last status is followed by the Event that tells of it."""
    before = operator_writes()
    time.sleep(3)
    return operator_writes() == before


def operator_writes() -> float:
    """Requests that could have changed something, of the operator that is at work."""
    pods = k8s.get_list("pods", "keras-system", "app.kubernetes.io/component=operator")
    path = f"/api/v1/namespaces/keras-system/pods/{pods[0]['metadata']['name']}:8080/proxy/metrics"
    text = k8s.kubectl("get", "--raw", path)
    return sum(float(count) for count in _WRITE.findall(text))
