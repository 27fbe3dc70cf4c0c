"""Fifty models on the cluster: the writes per model until it is served, and the writes of all models in steady state.

Each model has one serving pod. The writes come from the operator's metric for its requests to the API server.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from path.on_cluster import MODELS, Rounds, condition, k8s, until
from row import Row

MODEL_COUNT = 50
STEADY_SECONDS = 60
# Children, status patches and an Event.
WRITES_PER_MODEL = 9
# Small enough for fifty pods on a small node.
RESOURCES = {"requests": {"cpu": "5m", "memory": "64Mi"}}
# A small node cannot run many prepare Jobs at once, and reporting the waiting ones would take more writes.
CONCURRENT = 2

_WRITE = re.compile(
    r'^keras_operator_api_request_duration_seconds_count\{.*verb="(?:apply|patch|delete|create)".*\} (\S+)$', re.M
)


def measure(file: Path) -> list[Row]:
    """Serve fifty models, then observe the steady state."""
    with Rounds.in_namespace(file) as rounds:
        before = operator_writes()
        for begin in range(0, MODEL_COUNT, CONCURRENT):
            for number in range(begin, begin + CONCURRENT):
                model = rounds.model()
                model["metadata"]["name"] = f"digits-{number:02}"
                model["spec"]["serving"]["resources"] = RESOURCES
                rounds.api.create(MODELS, model)
            until(
                lambda: all(condition(each, "Ready") for each in rounds.api.list(MODELS)),
                f"{begin + CONCURRENT} models to be Ready",
                poll_seconds=0.5,
            )
        until(settled, "the operator to stop writing", poll_seconds=0)
        served = operator_writes()
        time.sleep(STEADY_SECONDS)
        writes = operator_writes() - served
    each = (served - before) / MODEL_COUNT
    what = f"{STEADY_SECONDS} s in steady state with {MODEL_COUNT} models on the cluster: writes"
    return [
        Row(f"API writes for a new model on the cluster, mean of {MODEL_COUNT}", each, WRITES_PER_MODEL, "", []),
        Row(what, writes, 0, "", []),
    ]


def settled() -> bool:
    """Whether the operator wrote nothing for some seconds. An Event follows the last status patch."""
    before = operator_writes()
    time.sleep(3)
    return operator_writes() == before


def operator_writes() -> float:
    """Number of writes that the operator has sent."""
    pods = k8s.get_list("pods", "keras-system", "app.kubernetes.io/component=operator")
    path = f"/api/v1/namespaces/keras-system/pods/{pods[0]['metadata']['name']}:8080/proxy/metrics"
    text = k8s.kubectl("get", "--raw", path)
    return sum(float(count) for count in _WRITE.findall(text))
