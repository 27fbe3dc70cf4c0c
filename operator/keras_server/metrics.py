"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from keras_server.statistics import Execution

# Small models answer within a millisecond, large ones take seconds.
_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
_ROWS = tuple(float(2**power) for power in range(13))


class Metrics:
    """The server's metrics, in a registry of their own.

    Args:
        in_flight: returns the number of requests in flight.
        ready: returns whether the server is ready.
    """

    def __init__(
        self,
        *,
        in_flight: Callable[[], float],
        ready: Callable[[], float],
    ) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._requests = Counter(
            "keras_server_requests_total",
            "Inference requests answered, by protocol (oip, tfserving) and HTTP status.",
            ["protocol", "code"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "keras_server_request_duration_seconds",
            "Seconds from an inference request's headers to its response, by protocol.",
            ["protocol"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._answered: dict[tuple[str, int | str], tuple[Counter, Histogram]] = {}
        self._inference_seconds = Histogram(
            "keras_server_inference_duration_seconds",
            "Seconds that the runtime took for one inference.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch_rows = Histogram(
            "keras_server_batch_rows", "Rows of one inference.", buckets=_ROWS, registry=registry
        )
        self._rejected = Counter(
            "keras_server_requests_rejected_total",
            "Inference requests rejected because the server had reached its limit of requests, or of their bytes.",
            registry=registry,
        )
        Gauge(
            "keras_server_in_flight", "Inference requests in flight, waiting ones included.", registry=registry
        ).set_function(in_flight)
        Gauge("keras_server_ready", "1 while the server is ready, else 0.", registry=registry).set_function(ready)
        self._model_info = Gauge(
            "keras_server_model_info",
            "Always 1; the labels describe the served model.",
            ["model", "revision", "runtime"],
            registry=registry,
        )

    def describe(self, *, model: str, revision: str, runtime: str) -> None:
        """Set the served model."""
        self._model_info.labels(model, revision, runtime).set(1)

    def observe_request(self, protocol: str, code: int | str, seconds: float, *, rejected: bool) -> None:
        """Count one inference request.

        Args:
            protocol: that it came by.
            code: the protocol's status of the answer.
            seconds: from its headers to its answer.
            rejected: whether a limit on requests in flight was reached.
        """
        # Kept, because the library takes 2 us to find a child, which is 2 % of a small request.
        answered = self._answered.get((protocol, code))
        if answered is None:
            children = self._requests.labels(protocol, str(code)), self._request_seconds.labels(protocol)
            answered = self._answered[protocol, code] = children
        count, duration = answered
        count.inc()
        duration.observe(seconds)
        if rejected:
            self._rejected.inc()

    def observe_inference(self, execution: Execution) -> None:
        """Count one inference; may be called from any thread."""
        self._batch_rows.observe(execution.rows)
        self._inference_seconds.observe(execution.seconds)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that an Accept header asks for, and that format's content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type
