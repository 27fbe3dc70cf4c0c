"""The operator's own Prometheus metrics."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from keras_operator.kube.kinds import Key, Object

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


# As controller-runtime labels the work queue of its controllers, so that dashboards for it work here, too.
_QUEUE = "kerasmodel"


class Metrics:
    """All metrics of the operator, in one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._reconcile = self._histogram(
            "keras_operator_reconcile_duration_seconds",
            "Duration of one reconcile of a model. `result` is ok, superseded or error.",
            ["result"],
        )
        self._queue_wait = self._histogram(
            "workqueue_queue_duration_seconds", "Time that a model waits in the work queue.", ["name"]
        ).labels(_QUEUE)
        self._work = self._histogram(
            "workqueue_work_duration_seconds", "Time that processing a model from the work queue takes.", ["name"]
        ).labels(_QUEUE)
        self._retries = Counter(
            "workqueue_retries_total", "Retries after a failed reconcile.", ["name"], registry=self.registry
        ).labels(_QUEUE)
        self._requests = self._histogram(
            "keras_operator_api_request_duration_seconds",
            "Duration of a request to the Kubernetes API. `code` is none if there was no answer.",
            ["verb", "resource", "code"],
        )
        self._resolve = Counter(
            "keras_operator_source_requests_total",
            "Requests to sources for their version. `result` is ok, or the reason of the failure.",
            ["result"],
            registry=self.registry,
        )
        self._status_writes = Counter(
            "keras_operator_status_writes_total", "Status patches sent.", registry=self.registry
        )
        self._applies = Counter(
            "keras_operator_applies_total",
            "Children applied. `cause` is missing, changed or drift.",
            ["kind", "cause"],
            registry=self.registry,
        )
        self._leading = Gauge(
            "keras_operator_leading", "Whether this operator is the leader: 1 or 0.", registry=self.registry
        )

    def leading(self, leads: bool) -> None:
        """Set whether this operator is the leader."""
        self._leading.set(leads)

    def reconciled(self, result: str, seconds: float) -> None:
        """A reconcile ended; `result` is ok, superseded or error."""
        self._reconcile.labels(result).observe(seconds)
        self._work.observe(seconds)

    def dequeued(self, seconds: float) -> None:
        """A model left the work queue after so many seconds."""
        self._queue_wait.observe(seconds)

    def retried(self) -> None:
        """A model entered the work queue again after an error."""
        self._retries.inc()

    def api_request(self, verb: str, resource: str, code: str, seconds: float) -> None:
        """A request ended; `code` is none when there was no answer."""
        self._requests.labels(verb, resource, code).observe(seconds)

    def resolved(self, result: str) -> None:
        """A source answered; `result` is ok or the reason of the failure."""
        self._resolve.labels(result).inc()

    def status_written(self) -> None:
        """A status patch was sent."""
        self._status_writes.inc()

    def applied(self, kind: str, cause: str) -> None:
        """A child was applied; `cause` is missing, changed or drift."""
        self._applies.labels(kind, cause).inc()

    def watch_depth(self, depth: Callable[[], int]) -> None:
        """Report the number of models in the work queue."""
        gauge = Gauge("workqueue_depth", "Models in the work queue.", ["name"], registry=self.registry)
        gauge.labels(_QUEUE).set_function(depth)

    def watch_models(self, models: Callable[[], Mapping[Key, Object]]) -> None:
        """Report models by their Ready condition."""
        self.registry.register(_Models(models))

    def exposition(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def _histogram(self, name: str, description: str, labels: list[str]) -> Histogram:
        return Histogram(name, description, labels, buckets=_SECONDS, registry=self.registry)


class _Models(Collector):
    def __init__(self, models: Callable[[], Mapping[Key, Object]]) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "keras_operator_models", "KerasModels by their Ready condition.", labels=["ready", "reason"]
        )
        for labels, number in Count(map(_readiness, list(self._models().values()))).items():
            family.add_metric(labels, number)
        yield family


def _readiness(model: Object) -> tuple[str, str]:
    for condition in model["status"].get("conditions", []):
        if condition["type"] == "Ready":
            return str(condition["status"]), str(condition["reason"])
    return "Unknown", ""
