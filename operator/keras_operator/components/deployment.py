"""The Deployment: the serving pods of one revision, replaced by a rolling update without downtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_api.manifest import ModelSummary
from keras_api.pod_part import PodPart
from keras_api.prepare_request import bundle_path
from keras_api.reasons import ConditionType, Reason
from keras_api.resource import KerasModel, SpecError
from keras_operator.cache.objects import Child
from keras_operator.components.base import Component, Context
from keras_operator.diagnosis.pods import Diagnosis, cause_from_event, cause_of, is_history
from keras_operator.diagnosis.rollout import (
    condition,
    desired_replicas,
    is_current,
    is_rolled_out,
    serving_revision,
)
from keras_operator.kube.kinds import DEPLOYMENT, ChildKind, Object
from keras_operator.naming.labels import RESERVED_PREFIXES, SERVER, SERVING, labels, server_selector
from keras_operator.naming.names import PORT, serving_hash
from keras_operator.naming.sizing import server_memory
from keras_operator.render.merge import merge
from keras_operator.render.metadata import child_object
from keras_operator.render.pods import container, pod_spec, store_part
from keras_operator.settings import Settings
from keras_operator.state.conditions import ConditionUpdate
from keras_operator.state.failure import Failure
from keras_operator.state.observed import Observed
from keras_store.store_access import AUDIENCE, READ_SUFFIX

BUNDLE_FOLDER = "/bundle"

# After SIGTERM the server still answers requests, until endpoints and proxies no longer route to the pod.
DRAIN_DELAY_SECONDS = 5
# Then it completes the requests that it has accepted.
DRAIN_TIMEOUT_SECONDS = 45
# The server is live before it downloads its bundle; on a busy node its process takes a while to start. With a startup
# probe the first check would wait for a period of the kubelet, and readiness for another one.
STARTUP_SECONDS = 120
PROGRESS_DEADLINE_SECONDS = 600
# A pod leaves the Service after this number of failed checks, one a second.
UNREADY_CHECKS = 4
PROBE_TIMEOUT_SECONDS = 5
READY_WAIT_SECONDS = PROBE_TIMEOUT_SECONDS - 1


class DeploymentComponent(Component):
    """The Deployment of a prepared revision."""

    child = ChildKind(
        DEPLOYMENT,
        status_fields=("observedGeneration", "replicas", "updatedReplicas", "conditions"),
        has_pod_template=True,
    )

    def desired(self, context: Context) -> Iterator[Object]:
        """The Deployment, once a revision is prepared.

        Raises:
            SpecError: when spec.serving.podTemplate cannot be merged.
        """
        if context.prepared is not None:
            yield deployment(context.model, *context.prepared, context.settings)

    def failures(self, context: Context) -> Iterator[Failure]:
        """Why the desired revision, which is prepared, is not rolled out."""
        model, observed = context.model, context.observed
        found = observed.deployment(model)
        if not context.is_prepared or found is None or is_rolled_out(model, observed, observed.revision):
            return
        # Until the Deployment's controller has observed a change, its status does not reflect that change.
        cause = _cause(observed, found) if is_current(found) else None
        if cause is not None:
            # After the Deployment's progress deadline, manual intervention is required.
            overdue = condition(found.status, "Progressing").get("reason") == "ProgressDeadlineExceeded"
            yield Failure("serve", cause.reason, cause.message, found.revision, cause.exit_code, final=overdue)

    def conditions(self, context: Context) -> Iterator[ConditionUpdate]:
        """Available."""
        yield ConditionUpdate(ConditionType.AVAILABLE, *_availability(context.model, context.observed))


def deployment(model: KerasModel, revision: str, summary: ModelSummary, settings: Settings) -> Object:
    """The Deployment that serves a prepared revision.

    Args:
        model: the model.
        revision: the revision to serve.
        summary: the result of prepare; decides image and memory.
        settings: the operator's settings.

    Raises:
        SpecError: when spec.serving.podTemplate cannot be merged.
    """
    name = model.metadata.name
    serving = model.spec.serving
    part = _bundle_part(model, revision, settings) + PodPart(
        args=(
            *("--name", name, "--port", str(PORT)),
            *("--drain-delay", str(DRAIN_DELAY_SECONDS), "--drain-timeout", str(DRAIN_TIMEOUT_SECONDS)),
            # Only where the spec differs from the default, so that other pods do not change.
            *(("--non-finite", serving.non_finite) if serving.non_finite != "reject" else ()),
        )
    )
    server = container(
        SERVER,
        settings.pipeline_image if summary.runtime == "tensorflow" else settings.server_image,
        ["python", "-m", "keras_server"],
        settings,
        part,
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        resources=_resources(model, summary),
        # A long poll: the answer comes when the bundle is loaded, and not only at the kubelet's next check.
        readinessProbe=_probe(f"ready?wait={READY_WAIT_SECONDS}", periodSeconds=1, failureThreshold=UNREADY_CHECKS),
        livenessProbe=_probe("live", initialDelaySeconds=STARTUP_SECONDS, periodSeconds=10, failureThreshold=3),
    )
    spec = pod_spec(
        name,
        settings,
        [part],
        containers=[server],
        # A little longer than the server needs, so that it ends by itself and logs the requests that it did not answer.
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
    obj = child_object(DEPLOYMENT, model, name)
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
    # Other field managers (a HorizontalPodAutoscaler, `kubectl scale`) own the replicas unless the spec sets them.
    if serving.replicas is not None:
        obj["spec"]["replicas"] = serving.replicas
    return obj


def _bundle_part(model: KerasModel, revision: str, settings: Settings) -> PodPart:
    """How the bundle gets into a serving pod: the server downloads it into a folder of the pod.

    An init container could do so, but the kubelet checks only once a second whether one has ended.
    """
    path = bundle_path(model.metadata.namespace, model.metadata.name, revision)
    bundle = PodPart(
        args=("--store", settings.store_url, "--path", path, "--bundle", BUNDLE_FOLDER),
        mounts=({"name": "bundle", "mountPath": BUNDLE_FOLDER},),
        volumes=({"name": "bundle", "emptyDir": {}},),
    )
    return bundle + store_part(settings, AUDIENCE + READ_SUFFIX)


def _probe(health: str, **more: int) -> Object:
    check = {"path": f"/v2/health/{health}", "port": "http"}
    return {"httpGet": check, "timeoutSeconds": PROBE_TIMEOUT_SECONDS, **more}


def _resources(model: KerasModel, summary: ModelSummary) -> Object:
    spec = model.spec.serving.resources
    requests: dict[str, Any] = {"cpu": "100m", "memory": server_memory(summary)}
    # A limit without a request is both: the API server rejects a default request above the limit.
    requests = {name: value for name, value in requests.items() if name not in spec.limits} | spec.requests
    return {"requests": requests, **({"limits": dict(spec.limits)} if spec.limits else {})}


def _template_metadata(model: KerasModel, revision: str) -> Object:
    spec = model.spec.serving.pod_template.metadata
    for field, keys in (("labels", spec.labels), ("annotations", spec.annotations)):
        for key in keys:
            if key.startswith(RESERVED_PREFIXES):
                raise SpecError(
                    f"spec.serving.podTemplate.metadata.{field}[{key!r}] is set by the operator; "
                    f"use a key without the prefix {key.split('/')[0]}/"
                )
    return {
        "labels": {**spec.labels, **labels(model.metadata.name, SERVER, revision)},
        "annotations": {**spec.annotations, SERVING: serving_hash(model)},
    }


def _cause(observed: Observed, found: Child) -> Diagnosis | None:
    """Why the pods of the Deployment's present template are not ready."""
    if found.uid in observed.evidence:
        return cause_from_event(found.ref.name, observed.evidence[found.uid])
    # A pod that has ended is worse evidence than the pod that replaced it.
    for pod in sorted(observed.servers(), key=lambda pod: pod.status.get("phase") == "Failed"):
        # A pod of an earlier template is deleted as soon as possible, whatever its state.
        if (pod.revision, pod.serving) != (found.revision, found.serving) or is_history(pod, observed.now):
            continue
        if cause := cause_of(pod, observed.now, observed.evidence.get(pod.uid)):
            return cause
    progressing = condition(found.status, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Diagnosis(Reason.NOT_READY, progressing.get("message", ""))
    return None


def _availability(model: KerasModel, observed: Observed) -> tuple[bool, Reason, str]:
    serving = serving_revision(observed, model.status.serving_revision)
    if serving:
        return True, Reason.SERVING, f"revision {serving} is served"
    found = observed.deployment(model)
    if found is not None and desired_replicas(found) == 0:
        return False, Reason.SCALED_TO_ZERO, "replicas is 0"
    return False, Reason.NO_REPLICA_READY, "no pod answers requests"
