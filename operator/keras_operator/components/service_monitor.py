"""The ServiceMonitor: configures a Prometheus of the Prometheus operator to scrape the serving pods."""

from __future__ import annotations

from collections.abc import Iterator

from keras_api.reasons import ConditionType, Reason
from keras_operator.components.base import Component, Context
from keras_operator.kube.kinds import ChildKind, Kind, Object, Ref
from keras_operator.naming.labels import MODEL, RESERVED_PREFIXES, REVISION, server_selector
from keras_operator.render.metadata import child_object
from keras_operator.state.conditions import ConditionUpdate

SERVICE_MONITOR = Kind("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors")


class ServiceMonitorComponent(Component):
    """The ServiceMonitor, where the cluster serves that kind and the spec does not disable it."""

    child = ChildKind(SERVICE_MONITOR, optional=True, deletable=True)
    # A model serves without its ServiceMonitor: only the condition MonitoringReady reports an error.
    required = False

    def desired(self, context: Context) -> Iterator[Object]:
        """The ServiceMonitor; every series gets the pod's model and revision as labels."""
        spec = context.model.spec.monitoring.service_monitor
        if not spec.enabled:
            return
        name = context.model.metadata.name
        obj = child_object(SERVICE_MONITOR, context.model, name)
        added = {key: value for key, value in spec.labels.items() if not key.startswith(RESERVED_PREFIXES)}
        obj["metadata"]["labels"] = {**added, **obj["metadata"]["labels"]}
        endpoint = {"port": "http", "path": "/metrics", **({"interval": spec.interval} if spec.interval else {})}
        obj["spec"] = {
            "selector": {"matchLabels": server_selector(name)},
            "podTargetLabels": [MODEL, REVISION],
            "endpoints": [endpoint],
        }
        yield obj

    def obsolete(self, context: Context) -> Iterator[Ref]:
        """Every ServiceMonitor once the spec disables it."""
        if not context.model.spec.monitoring.service_monitor.enabled:
            yield from self.owned(context)

    def conditions(self, context: Context) -> Iterator[ConditionUpdate]:
        """MonitoringReady."""
        yield ConditionUpdate(ConditionType.MONITORING_READY, *self._readiness(context))

    def _readiness(self, context: Context) -> tuple[bool, Reason, str]:
        ref = Ref(SERVICE_MONITOR, context.model.metadata.name)
        if not context.model.spec.monitoring.service_monitor.enabled:
            return False, Reason.SERVICE_MONITOR_DISABLED, "disabled by spec.monitoring"
        if SERVICE_MONITOR not in context.observed.served_kinds:
            message = "the cluster does not serve the kind ServiceMonitor (monitoring.coreos.com/v1)"
            return False, Reason.SERVICE_MONITOR_CRD_MISSING, message
        error = context.errors.get(ref) or context.observed.forbidden.get(SERVICE_MONITOR)
        if error is not None:
            return False, *error
        if ref in context.observed.children:
            return True, Reason.SERVICE_MONITOR_APPLIED, f"{ref} is applied"
        return False, Reason.SERVICE_MONITOR_PENDING, f"{ref} does not exist yet"
