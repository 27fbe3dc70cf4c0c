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


class Metrics:
    """All of them, in one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._reconcile = Histogram(
            "keras_operator_reconcile_seconds",
            "Time that one turn of a model took.",
            ["result"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._waited = Histogram(
            "keras_operator_queue_wait_seconds",
            "Time that a model waited for its turn.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._requests = Histogram(
            "keras_operator_api_request_seconds",
            "Time that a request to the Kubernetes API took.",
            ["verb", "resource", "code"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._resolve = Counter(
            "keras_operator_source_requests_total",
            "Questions to sources for their version.",
            ["result"],
            registry=self.registry,
        )
        self._status_writes = Counter(
            "keras_operator_status_writes_total", "Status patches sent.", registry=self.registry
        )
        self._applies = Counter(
            "keras_operator_applies_total", "Children applied, by cause.", ["kind", "cause"], registry=self.registry
        )

        self._leading = Gauge(
            "keras_operator_leading", "Whether this operator is the one at work: 1 or 0.", registry=self.registry
        )

    def leading(self, leads: bool) -> None:
        """Whether this operator is the one at work."""
        self._leading.set(leads)

    def reconciled(self, result: str, seconds: float) -> None:
        """A turn has ended; `result` is ok, superseded or error."""
        self._reconcile.labels(result).observe(seconds)

    def waited(self, seconds: float) -> None:
        """A turn has begun after waiting."""
        self._waited.observe(seconds)

    def api_request(self, verb: str, resource: str, code: str, seconds: float) -> None:
        """A request has ended; `code` is none when there was no answer."""
        self._requests.labels(verb, resource, code).observe(seconds)

    def resolved(self, result: str) -> None:
        """A source has answered; `result` is ok or the reason of the failure."""
        self._resolve.labels(result).inc()

    def status_written(self) -> None:
        """A status patch was sent."""
        self._status_writes.inc()

    def applied(self, kind: str, cause: str) -> None:
        """A child was applied; `cause` is missing, changed or drift."""
        self._applies.labels(kind, cause).inc()

    def watch_depth(self, depth: Callable[[], int]) -> None:
        """Report the number of models that wait for their turn."""
        gauge = Gauge("keras_operator_queue_depth", "Models that wait for their turn.", registry=self.registry)
        gauge.set_function(depth)

    def watch_models(self, models: Callable[[], Mapping[Key, Object]]) -> None:
        """Report models by what their Ready condition says."""
        self.registry.register(_Models(models))

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)


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
