"""``spec.monitoring``: the ServiceMonitor."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from keras_api.resource.meta import Spec
from keras_api.scalars import Interval


class ServiceMonitor(Spec, frozen=True, kw_only=True):
    """How Prometheus is told to scrape the pods."""

    enabled: Annotated[
        bool, Meta(description="Whether to create a ServiceMonitor, where the cluster has that kind.")
    ] = True
    labels: Annotated[
        dict[str, str],
        Meta(description="Labels to add, for a Prometheus that selects ServiceMonitors by label.", max_length=32),
    ] = {}
    interval: Annotated[Interval, Meta(description="Scrape interval; Prometheus's own default when absent.")] | None = (
        None
    )


class Monitoring(Spec, frozen=True, kw_only=True):
    """How the model is monitored."""

    service_monitor: Annotated[ServiceMonitor, Meta(description="The ServiceMonitor of the Prometheus operator.")] = (
        field(default_factory=ServiceMonitor)
    )
