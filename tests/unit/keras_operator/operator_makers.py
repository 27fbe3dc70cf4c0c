"""Makes resources, children and pods for tests, as the API server sends them; a test sets only the relevant fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from keras_api.manifest import ModelSummary, Parity, Tensor
from keras_api.reasons import Reason
from keras_api.resource import KerasModel, parse_model
from keras_api.step_report import StepFailure, StepReport, encode_report
from keras_operator.cache.cache import Cache
from keras_operator.components import COMPONENTS
from keras_operator.components.base import Component, Config, Context, Prepared
from keras_operator.components.deployment import deployment
from keras_operator.components.service import ServiceComponent
from keras_operator.components.service_monitor import SERVICE_MONITOR, ServiceMonitorComponent
from keras_operator.kube.drift import annotated
from keras_operator.kube.evidence import Evidence
from keras_operator.kube.identity import MANAGER
from keras_operator.kube.kinds import DEPLOYMENT, JOB, KERAS_MODEL, POD, Key, Kind, Object
from keras_operator.kube.times import written
from keras_operator.naming.labels import SERVING, labels
from keras_operator.naming.names import job_name, serving_hash
from keras_operator.settings import Settings
from keras_operator.state.observed import Observed, observe
from keras_operator.state.source_resolution import SourceResolution
from keras_operator.tasks import PREPARE, TASKS
from keras_operator.tasks.base import TaskInputs
from keras_store.sources.fingerprint import Fingerprint

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
UID = "uid-of-digits"
REJECTED_UID = "uid-of-rejected-deployment"
KEY = Key("team-a", "digits")
FOUND = SourceResolution(Fingerprint("etag-1", 100_000))
SETTINGS = Settings(
    server_image="registry.example.org/server:1",
    pipeline_image="registry.example.org/pipeline:1",
    store_url="http://keras-store.keras-system.svc:8080",
)


CONFIG = Config(SETTINGS, COMPONENTS, TASKS)
CHILD_KINDS = [each.child for each in COMPONENTS]


def ago(seconds: float) -> str:
    return written(NOW - timedelta(seconds=seconds))


def summary(runtime: str = "onnxruntime", parameters: int = 20_000) -> ModelSummary:
    return ModelSummary(
        digest="sha256:" + "ab" * 32,
        size_bytes=100_000,
        keras_version="3.15.1",
        parameters=parameters,
        inputs=[Tensor(name="image", dtype="float32", shape=[-1, 8, 8, 1])],
        outputs=[Tensor(name="digit", dtype="float32", shape=[-1, 10])],
        runtime=runtime,
        parity=Parity(max_abs_error="1e-7", agreement="1", rows=100),
        metrics={"accuracy": "0.97"},
    )


def body(status: Object | None = None, **spec: Any) -> Object:
    """A KerasModel as the API server sends it."""
    source = {"uri": "s3://models/digits.keras", **spec.pop("source", {})}
    return {
        "apiVersion": KERAS_MODEL.api_version,
        "kind": KERAS_MODEL.name,
        "metadata": {
            "name": KEY.name,
            "namespace": KEY.namespace,
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": ago(3600),
        },
        "spec": {"source": source, **spec},
        "status": status or {},
    }


def model(status: Object | None = None, **spec: Any) -> KerasModel:
    return parse_model(body(status, **spec))


def live(kind: Kind, rendered: Object, status: Object | None = None, version: int = 10, **metadata: Any) -> Object:
    """A child as the API server returns it after a rendered object was applied."""
    desired, _ = annotated(rendered)
    return {
        **desired,
        "metadata": {
            "uid": f"uid-{kind.name}-{version}",
            "creationTimestamp": ago(3600),
            "resourceVersion": str(version),
            "generation": 1,
            "managedFields": [
                {"manager": MANAGER, "operation": "Apply", "time": ago(60), "fieldsV1": {"f:spec": {}}},
            ],
            **desired["metadata"],
            **metadata,
        },
        "status": status or {},
    }


def rendered(component: Component, subject: KerasModel, prepared: Prepared | None = None) -> Object:
    """The one object that a component desires."""
    observed = Observed(NOW, FOUND)
    (obj,) = component.desired(Context(subject, observed, SETTINGS, TASKS, prepared=prepared))
    return obj


def service(subject: KerasModel) -> Object:
    return rendered(ServiceComponent(), subject)


def service_monitor(subject: KerasModel) -> Object:
    return rendered(ServiceMonitorComponent(), subject)


def prepare_job(
    subject: KerasModel, revision: str, found: Fingerprint, settings: Settings = SETTINGS, **attempt: Any
) -> Object:
    observed = Observed(NOW, SourceResolution(found), revision)
    return PREPARE.job(TaskInputs(subject, observed, settings, **attempt))


def job(revision: str, *, ended: str = "", reason: str = "", ended_ago: float = 30, **annotations: str) -> Object:
    """A prepare Job: running, or ended as `Complete` or `Failed`."""
    conditions = []
    if ended:
        conditions = [
            {
                "type": ended,
                "status": "True",
                "reason": reason,
                "message": "it ended",
                "lastTransitionTime": ago(ended_ago),
            }
        ]
    rendered = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(KEY.name, "prepare", revision),
            "namespace": KEY.namespace,
            "labels": labels(KEY.name, "prepare", revision),
            "annotations": {
                f"keras-operator.dev/{name.replace('_', '-')}": value for name, value in annotations.items()
            },
            "ownerReferences": [{"kind": "KerasModel", "name": KEY.name, "uid": UID, "controller": True}],
        },
        "spec": {},
    }
    running = {} if ended else {"active": 1}
    return live(JOB, rendered, {"conditions": conditions, "startTime": ago(60), **running}, uid=f"uid-job-{revision}")


def pod(
    component: str, revision: str, name: str = "pod-a", *, owner: str = "rs", serving: Any = None, **status: Any
) -> Object:
    """A pod; the serving hash of a server is that of the given spec.serving."""
    return {
        "metadata": {
            "name": name,
            "namespace": KEY.namespace,
            "uid": f"uid-{name}",
            "resourceVersion": "20",
            "creationTimestamp": ago(30),
            "labels": labels(KEY.name, component, revision),
            "annotations": {SERVING: serving_hash(model(serving=serving or {}))} if component == "server" else {},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "x", "uid": owner, "controller": True}],
        },
        "status": {"phase": "Pending", **status},
    }


def ready_pod(revision: str, name: str = "pod-a") -> Object:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": ago(10)}
    return pod("server", revision, name, phase="Running", conditions=[condition])


def prepare_pod(revision: str, *states: Object) -> Object:
    """The pod of the prepare Job, with the states of its containers fetch, prepare and put."""
    names = ("fetch", "prepare", "put")
    containers = [{"name": name, "state": state} for name, state in zip(names, states, strict=False)]
    return pod("prepare", revision, "job-pod", owner=f"uid-job-{revision}", initContainerStatuses=containers)


def ended(code: int = 0, message: str = "", reason: str = "") -> Object:
    return {
        "terminated": {"exitCode": code, "message": message, "reason": reason or ("Error" if code else "Completed")}
    }


def success(revision: str) -> Object:
    return ended(0, encode_report(StepReport(step="prepare", revision=revision, model=summary())).decode())


def failure(revision: str, reason: Reason, message: str = "because") -> Object:
    failed = StepFailure(reason=reason, message=message)
    return ended(1, encode_report(StepReport(step="prepare", revision=revision, failure=failed)).decode())


def deployment_status(replicas: int = 1, ready: int = 1, *, generation: int = 1, **more: Any) -> Object:
    complete = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
    return {
        "observedGeneration": generation,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "conditions": [complete],
        **more,
    }


NOT_ADMITTED = {
    "type": "ReplicaFailure",
    "status": "True",
    "message": "an earlier rejection",
    "lastTransitionTime": ago(30),
}


def rejected_deployment(revision: str, **metadata: Any) -> Object:
    """A Deployment whose condition reports that pods were not admitted."""
    rendered = deployment(model(), revision, summary(), SETTINGS)
    return live(DEPLOYMENT, rendered, deployment_status(0, 0, conditions=[NOT_ADMITTED]), uid=REJECTED_UID, **metadata)


def replica_set(count: int, revision: str, *, rejected: bool = True, owner: str = REJECTED_UID) -> Object:
    """A ReplicaSet of that Deployment; `count` is the number of its template."""
    return {
        "metadata": {
            "name": f"digits-{count}",
            "uid": f"uid-digits-{count}",
            "annotations": {"deployment.kubernetes.io/revision": str(count)},
            "ownerReferences": [{"uid": owner, "controller": True}],
        },
        "spec": {"template": deployment(model(), revision, summary(), SETTINGS)["spec"]["template"]},
        "status": {"conditions": [NOT_ADMITTED] if rejected else []},
    }


def observed_state(
    subject: KerasModel,
    *children: tuple[Kind, Object],
    pods: tuple[Object, ...] = (),
    resolution: SourceResolution = FOUND,
    service_monitors: bool = False,
    evidence: Mapping[str, Evidence] | None = None,
) -> Observed:
    """The observed state of a model with children and pods."""
    cache = Cache(CHILD_KINDS)
    cache.set_served(SERVICE_MONITOR, service_monitors)
    for kind, obj in children:
        cache.update(kind, obj)
    for each in pods:
        cache.update(POD, each)
    return replace(observe(subject, cache, resolution, NOW), evidence=evidence or {})
