"""The Deployment: the serving pods of one revision, replaced without an interruption."""

from __future__ import annotations

from typing import Any

from keras_api.manifest import ModelSummary
from keras_api.resource import KerasModel, SpecError
from keras_operator.kube.drift import fingerprint
from keras_operator.kube.kinds import DEPLOYMENT, Object
from keras_operator.naming.labels import RESERVED_PREFIXES, SERVING, child, labels, server_selector
from keras_operator.naming.names import PORT
from keras_operator.naming.sizing import server_memory
from keras_operator.render.bundle import bundle_fields
from keras_operator.render.merge import merge
from keras_operator.render.pods import container, pod_spec
from keras_operator.settings import Settings

# After SIGTERM the server goes on answering while endpoints and proxies learn of it.
DRAIN_DELAY_SECONDS = 5
# Then it finishes what it has accepted.
DRAIN_TIMEOUT_SECONDS = 45
# The server is live before it gets its bundle; on a busy node its process takes a while to start. With a startup
# probe the first look would wait for a round of the kubelet's clock, and readiness for another one.
STARTUP_SECONDS = 120
PROGRESS_DEADLINE_SECONDS = 600
# It is left out of the Service after so many looks, a second each, without an answer.
UNREADY_LOOKS = 4
PROBE_TIMEOUT_SECONDS = 5
READY_WAIT_SECONDS = PROBE_TIMEOUT_SECONDS - 1


def deployment(model: KerasModel, revision: str, summary: ModelSummary, settings: Settings) -> Object:
    """The Deployment that serves a prepared revision.

    Args:
        model: the model.
        revision: the revision to serve.
        summary: what prepare found out about it; decides image and memory.
        settings: the operator's settings.

    Raises:
        SpecError: when spec.serving.podTemplate cannot be merged.
    """
    name = model.metadata.name
    serving = model.spec.serving
    bundle = bundle_fields(model, revision, settings)
    server = container(
        "server",
        settings.pipeline_image if summary.runtime == "tensorflow" else settings.server_image,
        [
            *("python", "-m", "keras_server", *bundle.arguments, "--name", name, "--port", str(PORT)),
            *("--drain-delay", str(DRAIN_DELAY_SECONDS), "--drain-timeout", str(DRAIN_TIMEOUT_SECONDS)),
        ],
        settings,
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        resources=_resources(model, summary),
        # Answered when the bundle is loaded, and not only at the kubelet's next look.
        readinessProbe=_probe(f"ready?wait={READY_WAIT_SECONDS}", periodSeconds=1, failureThreshold=UNREADY_LOOKS),
        livenessProbe=_probe("live", initialDelaySeconds=STARTUP_SECONDS, periodSeconds=10, failureThreshold=3),
        **bundle.container,
    )
    spec = pod_spec(
        name,
        settings,
        containers=[server],
        volumes=bundle.volumes,
        # A little longer, so that the server ends by itself and says what it left unanswered.
        terminationGracePeriodSeconds=DRAIN_DELAY_SECONDS + DRAIN_TIMEOUT_SECONDS + 5,
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": server_selector(name)},
                "matchLabelKeys": ["pod-template-hash"],
            }
        ],
    )
    obj = child(DEPLOYMENT, model, name)
    obj["spec"] = {
        "selector": {"matchLabels": server_selector(name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
        "revisionHistoryLimit": 3,
        "template": {
            "metadata": _template_metadata(model, revision),
            "spec": merge(spec, serving.pod_template.spec, "spec.serving.podTemplate.spec"),
        },
    }
    # Left to others (a HorizontalPodAutoscaler, `kubectl scale`) unless the spec says it.
    if serving.replicas is not None:
        obj["spec"]["replicas"] = serving.replicas
    return obj


def serving_hash(model: KerasModel) -> str:
    """Hash of what the spec asks of the pods themselves: their template and resources."""
    serving = model.spec.serving
    return fingerprint([serving.pod_template, serving.resources])


def _probe(health: str, **more: int) -> Object:
    look = {"path": f"/v2/health/{health}", "port": "http"}
    return {"httpGet": look, "timeoutSeconds": PROBE_TIMEOUT_SECONDS, **more}


def _resources(model: KerasModel, summary: ModelSummary) -> Object:
    wish = model.spec.serving.resources
    requests: dict[str, Any] = {"cpu": "100m", "memory": server_memory(summary)}
    # A limit without a request means both: a default above the limit would be refused.
    requests = {name: value for name, value in requests.items() if name not in wish.limits} | wish.requests
    return {"requests": requests, **({"limits": dict(wish.limits)} if wish.limits else {})}


def _template_metadata(model: KerasModel, revision: str) -> Object:
    wish = model.spec.serving.pod_template.metadata
    for field, keys in (("labels", wish.labels), ("annotations", wish.annotations)):
        for key in keys:
            if key.startswith(RESERVED_PREFIXES):
                raise SpecError(
                    f"spec.serving.podTemplate.metadata.{field}[{key!r}] is set by the operator; "
                    f"use a key without the prefix {key.split('/')[0]}/"
                )
    return {
        "labels": {**wish.labels, **labels(model.metadata.name, "server", revision)},
        "annotations": {**wish.annotations, SERVING: serving_hash(model)},
    }
