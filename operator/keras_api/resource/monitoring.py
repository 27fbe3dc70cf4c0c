"""``spec.monitoring``: the ServiceMonitor."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from keras_api.resource.meta import Spec
from keras_api.scalars import Interval


class ServiceMonitor(Spec, frozen=True, kw_only=True):
    """The ServiceMonitor that makes Prometheus scrape the pods."""

    enabled: Annotated[bool, Meta(description="Whether to create a ServiceMonitor if the cluster has this kind.")] = (
        True
    )
    labels: Annotated[
        dict[str, str],
        Meta(description="Labels to add, if your Prometheus selects ServiceMonitors by label.", max_length=32),
    ] = {}
    interval: Annotated[Interval, Meta(description="Scrape interval. Default: that of Prometheus.")] | None = None


class Monitoring(Spec, frozen=True, kw_only=True):
    """Monitoring of the model."""

    service_monitor: Annotated[
        ServiceMonitor, Meta(description="The ServiceMonitor, a resource of the Prometheus Operator.")
    ] = field(default_factory=ServiceMonitor)
