"""The metrics of the operator, the server and the embedded store, as their registries describe them."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from keras_operator.kube.metrics import Metrics as OperatorMetrics
from keras_server.metrics import Metrics as ServerMetrics
from keras_store.server.app import StoreApp
from keras_store.server.tokens import TokenReviewer

# Collectors of prometheus_client itself.
STANDARD = ("process_", "python_")


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def metrics() -> dict[str, list[Metric]]:
    """Metrics by the program that exposes them, in the order of their registration."""
    return {"operator": _of(_operator()), "server": _of(_server()), "embedded store": _of(_store())}


def _operator() -> CollectorRegistry:
    found = OperatorMetrics()
    found.watch_depth(int)
    found.watch_models(dict)
    return found.registry


def _server() -> CollectorRegistry:
    found: Any = ServerMetrics(in_flight=float, ready=float)
    registry: CollectorRegistry = found._registry
    return registry


def _store() -> CollectorRegistry:
    disk: Any = SimpleNamespace(free_bytes=int)
    api_server: Any = None  # no request is made
    registry = CollectorRegistry()
    StoreApp(disk, None, registry)
    TokenReviewer(api_server, registry)
    return registry


def _of(registry: CollectorRegistry) -> list[Metric]:
    found = []
    # Labels are public only in samples, and a metric with labels has no samples yet.
    for collector in registry._collector_to_names:
        for family in collector.collect():
            if family.name.startswith(STANDARD):
                continue
            labels: tuple[str, ...] = getattr(collector, "_labelnames", ()) or getattr(family, "_labelnames", ())
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found.append(Metric(name, family.type, tuple(labels), family.documentation))
    return found
