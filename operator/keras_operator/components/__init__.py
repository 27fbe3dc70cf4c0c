"""Components: one file per kind of child, with its watch, its desired and obsolete objects, and its part of the status.

A new kind of child is one file with a `Component`, and its place in `COMPONENTS`. The cache, the informer, the plan,
the status and the chart's RBAC rules are loops over that tuple.
"""

from __future__ import annotations

from keras_operator.components.base import Component
from keras_operator.components.deployment import DeploymentComponent
from keras_operator.components.job import JobComponent
from keras_operator.components.service import ServiceComponent
from keras_operator.components.service_account import ServiceAccountComponent
from keras_operator.components.service_monitor import ServiceMonitorComponent

COMPONENTS: tuple[Component, ...] = (
    ServiceAccountComponent(),
    ServiceComponent(),
    JobComponent(),
    DeploymentComponent(),
    ServiceMonitorComponent(),
)
"""In the order in which their kinds are listed; the order of applying is `Component.wave`."""
