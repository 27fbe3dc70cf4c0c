"""The condition types and reasons of a KerasModel's status, each with its meaning; each reason with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ConditionType(StrEnum):
    """Types of the entries in ``status.conditions`` (kstatus-compatible)."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    AVAILABLE = "Available"
    MODEL_PREPARED = "ModelPrepared"
    MONITORING_READY = "MonitoringReady"


CONDITION_MEANINGS: dict[ConditionType, str] = {
    ConditionType.READY: "The model is served as the spec asks: all replicas serve the desired revision.",
    ConditionType.RECONCILING: "The operator makes changes, or waits for something that it expects to happen.",
    ConditionType.STALLED: "Manual intervention required: the operator makes no progress until the spec, the model or the environment changes.",
    ConditionType.AVAILABLE: "At least one replica answers requests, possibly with the previous revision.",
    ConditionType.MODEL_PREPARED: "The bundle of the desired revision is converted, verified and in the store.",
    ConditionType.MONITORING_READY: "A ServiceMonitor exists, from which Prometheus learns to scrape the model's pods.",
}


class Reason(StrEnum):
    """Values of a condition's ``reason``, of ``status.lastFailure.reason`` and of a step report's ``reason``."""

    # Progress and success
    RESOLVING = "Resolving"
    PREPARING = "Preparing"
    PREPARED = "Prepared"
    ROLLING_OUT = "RollingOut"
    SERVING = "Serving"
    SCALED_TO_ZERO = "ScaledToZero"
    NO_REPLICA_READY = "NoReplicaReady"
    SUSPENDED = "Suspended"
    PROGRESSING = "Progressing"
    SERVICE_MONITOR_PENDING = "ServiceMonitorPending"
    SERVICE_MONITOR_APPLIED = "ServiceMonitorApplied"
    SERVICE_MONITOR_DISABLED = "ServiceMonitorDisabled"
    SERVICE_MONITOR_CRD_MISSING = "ServiceMonitorCRDMissing"
    # The resource
    SPEC_INVALID = "SpecInvalid"
    NAME_CONFLICT = "NameConflict"
    # The source
    SOURCE_NOT_FOUND = "SourceNotFound"
    SOURCE_ACCESS_DENIED = "SourceAccessDenied"
    SOURCE_UNREACHABLE = "SourceUnreachable"
    SOURCE_TOO_LARGE = "SourceTooLarge"
    SOURCE_CHANGED = "SourceChanged"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - the name of a reason
    DIGEST_MISMATCH = "DigestMismatch"
    # The model
    MODEL_UNREADABLE = "ModelUnreadable"
    MODEL_UNSAFE = "ModelUnsafe"
    MODEL_UNSUPPORTED = "ModelUnsupported"
    CONVERSION_FAILED = "ConversionFailed"
    PARITY_FAILED = "ParityFailed"
    VALIDATION_DATA_INVALID = "ValidationDataInvalid"
    VALIDATION_FAILED = "ValidationFailed"
    # The environment
    PREPARE_FAILED = "PrepareFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    STORE_UNAVAILABLE = "StoreUnavailable"
    BUNDLE_INVALID = "BundleInvalid"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    UNSCHEDULABLE = "Unschedulable"
    POD_REFUSED = "PodRefused"
    EVICTED = "Evicted"
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    OUT_OF_MEMORY = "OutOfMemory"
    CRASH_LOOP = "CrashLoop"
    NOT_READY = "NotReady"
    FORBIDDEN = "Forbidden"
    APPLY_FAILED = "ApplyFailed"


@dataclass(frozen=True)
class ReasonDoc:
    """Documentation of a reason."""

    meaning: str
    remedy: str
    is_terminal: bool = False
    """Whether the same inputs fail again, so that the operator does not retry until they change."""


NO_ACTION = "No action required."

REASON_DOCS: dict[Reason, ReasonDoc] = {
    Reason.RESOLVING: ReasonDoc("The operator reads the source's current version.", NO_ACTION),
    Reason.PREPARING: ReasonDoc(
        "The prepare Job fetches, checks and converts the model.",
        f"{NO_ACTION} To follow the Job: `kubectl logs -l keras-operator.dev/model=NAME,app.kubernetes.io/component=prepare -f`.",
    ),
    Reason.PREPARED: ReasonDoc("The bundle of the desired revision is in the store.", NO_ACTION),
    Reason.ROLLING_OUT: ReasonDoc("The Deployment replaces its pods with pods of the desired revision.", NO_ACTION),
    Reason.SERVING: ReasonDoc("All replicas serve the desired revision.", NO_ACTION),
    Reason.SCALED_TO_ZERO: ReasonDoc(
        "spec.serving.replicas is 0, so no pod serves the model.", "Set spec.serving.replicas to 1 or more."
    ),
    Reason.NO_REPLICA_READY: ReasonDoc(
        "No pod of the model answers requests.", "See the Ready condition for the cause."
    ),
    Reason.SUSPENDED: ReasonDoc(
        "spec.suspend is true: the operator changes nothing. Running pods continue to serve.",
        "Set spec.suspend to false.",
    ),
    Reason.PROGRESSING: ReasonDoc("No failure requires manual intervention.", NO_ACTION),
    Reason.SERVICE_MONITOR_PENDING: ReasonDoc(
        "The ServiceMonitor does not exist yet. The operator creates it.",
        f"{NO_ACTION} If the reason stays, see the operator's log.",
    ),
    Reason.SERVICE_MONITOR_APPLIED: ReasonDoc("The ServiceMonitor exists as the spec asks.", NO_ACTION),
    Reason.SERVICE_MONITOR_DISABLED: ReasonDoc(
        "spec.monitoring.serviceMonitor.enabled is false.", "To have the model's pods scraped, set it to true."
    ),
    Reason.SERVICE_MONITOR_CRD_MISSING: ReasonDoc(
        "The cluster does not have the kind ServiceMonitor (monitoring.coreos.com/v1).",
        "Install the Prometheus Operator. The operator then creates the ServiceMonitor.",
    ),
    Reason.SPEC_INVALID: ReasonDoc(
        "The API server accepted the spec, but it is not valid for this version of the operator.",
        "Correct the field that the message names. If the field is newer than the operator, upgrade the operator.",
        is_terminal=True,
    ),
    Reason.NAME_CONFLICT: ReasonDoc(
        "An object with the name of one of the model's child objects exists, but another controller or user created it.",
        "Rename the KerasModel, or delete the object that the message names. The operator never takes it over.",
    ),
    Reason.SOURCE_NOT_FOUND: ReasonDoc(
        "The source answers, but the file, bucket or claim does not exist.",
        "Correct spec.source.uri, or upload the file. The operator retries.",
    ),
    Reason.SOURCE_ACCESS_DENIED: ReasonDoc(
        "The source rejects the credentials, or requires credentials.",
        "Set spec.source.secretRef to a Secret with valid credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...).",
    ),
    Reason.SOURCE_UNREACHABLE: ReasonDoc(
        "The source's host does not resolve, refuses the connection, or does not answer in time.",
        "Check the host in spec.source, DNS and network policies. The operator retries with increasing delays.",
    ),
    Reason.SOURCE_TOO_LARGE: ReasonDoc(
        "The file exceeds the operator's size limit.",
        "Serve a smaller model, or increase the chart value prepare.maxSourceSize.",
        is_terminal=True,
    ),
    Reason.SOURCE_CHANGED: ReasonDoc(
        "The file was replaced after the operator read its version and before the prepare Job fetched it.",
        f"{NO_ACTION} The operator reads the version again at once and prepares the new file.",
    ),
    Reason.SECRET_NOT_FOUND: ReasonDoc(
        "A Secret, or a required key in it, does not exist: the Secret of spec.source.secretRef, or one that a pod uses.",
        "Create the Secret or key that the message names, in the model's namespace. The operator retries.",
    ),
    Reason.DIGEST_MISMATCH: ReasonDoc(
        "The file's sha256 is not the one in spec.source.digest.",
        "Correct the digest, or find out who changed the file.",
        is_terminal=True,
    ),
    Reason.MODEL_UNREADABLE: ReasonDoc(
        "The file is not a complete Keras model. The message describes what it is instead.",
        "Save the model with `model.save('name.keras')` and upload it again.",
        is_terminal=True,
    ),
    Reason.MODEL_UNSAFE: ReasonDoc(
        "The model was not loaded, because loading it could execute code from the file, read other files, or exhaust memory.",
        "Replace the part that the message names (a Lambda layer: by a registered layer or keras.ops) and save the model again. If the message names a function that is not part of a model, find out who created the file.",
        is_terminal=True,
    ),
    Reason.MODEL_UNSUPPORTED: ReasonDoc(
        "This version of the operator cannot serve the model: for example a custom layer without its code, a layer that only Keras 2 or a newer Keras has, a stateful layer, no inputs, or weights that are NaN.",
        "Follow the message: it names the layer or version, and the remedy.",
        is_terminal=True,
    ),
    Reason.CONVERSION_FAILED: ReasonDoc(
        "No runtime that spec.serving.runtime allows can run the model.",
        "If spec.serving.runtime names a runtime, set it to auto, which falls back to TensorFlow. If it is auto, follow the message: it contains the cause for each runtime.",
        is_terminal=True,
    ),
    Reason.PARITY_FAILED: ReasonDoc(
        "The outputs of the converted model differ from those of Keras by more than the tolerance.",
        "If spec.serving.runtime is onnxruntime, set it to auto or tensorflow. Otherwise, follow the message: it contains the figures for each runtime.",
        is_terminal=True,
    ),
    Reason.VALIDATION_DATA_INVALID: ReasonDoc(
        "spec.validation.data cannot be read as rows for this model.",
        "Correct the column, row or type that the message names.",
        is_terminal=True,
    ),
    Reason.VALIDATION_FAILED: ReasonDoc(
        "A metric on spec.validation.data is out of its bounds. The revision is not served.",
        "Train a better model, or change spec.validation.require.",
        is_terminal=True,
    ),
    Reason.PREPARE_FAILED: ReasonDoc(
        "The prepare Job failed unexpectedly, or its pod was lost (deleted, or with its node).",
        "Read the message and the logs of the pod that it names. After a lost pod the operator retries.",
        is_terminal=True,
    ),
    Reason.DEADLINE_EXCEEDED: ReasonDoc(
        "The prepare Job exceeded its deadline. The message contains what the Job was doing.",
        "Fix the cause, or increase the chart value prepare.deadline.",
        is_terminal=True,
    ),
    Reason.STORE_UNAVAILABLE: ReasonDoc(
        "The bundle store does not answer, rejects the request, or is full. The message names the cause.",
        "Check the store (`kubectl -n keras-system get pods`) and the free space of its volume. Running pods are not affected.",
    ),
    Reason.BUNDLE_INVALID: ReasonDoc(
        "The revision's bundle in the store is missing, incomplete or altered, so the pod does not serve it.",
        f"{NO_ACTION} The operator prepares the bundle again. If this happens often, find out what deletes or alters files in the store.",
    ),
    Reason.IMAGE_PULL_FAILED: ReasonDoc(
        "The kubelet cannot pull an image.",
        "Check the chart value image.registry and the image pull secrets.",
    ),
    Reason.UNSCHEDULABLE: ReasonDoc(
        "No node fits the pod. The message contains what is missing.",
        "Decrease spec.serving.resources, or add nodes.",
    ),
    Reason.POD_REFUSED: ReasonDoc(
        "The API server rejects the pod (ResourceQuota, Pod Security, LimitRange). The message is the API server's.",
        "Change the quota, the rule or the pod's settings.",
    ),
    Reason.EVICTED: ReasonDoc(
        "The kubelet evicted the pod, because its node ran out of a resource or the pod used more disk than allowed.",
        "Free resources on the node, or increase the limit that the message names (often that of a LimitRange). The pod is replaced.",
    ),
    Reason.VOLUME_UNAVAILABLE: ReasonDoc(
        "A volume is full, or cannot be mounted: its claim, Secret or ConfigMap does not exist, or the claim is not bound.",
        "Create the object that the message names, or correct the pvc:// address. If a disk is full, free space on the pod's node.",
    ),
    Reason.OUT_OF_MEMORY: ReasonDoc(
        "The kernel killed a container at its memory limit.",
        "Server: increase spec.serving.resources.limits.memory. Prepare Job: the operator retries with the memory that a file of this size usually needs, then with twice as much; if that fails, increase the chart value prepare.memory.",
    ),
    Reason.CRASH_LOOP: ReasonDoc(
        "A container exits repeatedly. The message contains its last output.", "Read the message and the pod's logs."
    ),
    Reason.NOT_READY: ReasonDoc(
        "Pods run but do not become ready. The message contains the server's last log message.",
        "Read the message and the server's logs.",
    ),
    Reason.FORBIDDEN: ReasonDoc(
        "The operator lacks a permission.",
        "Grant the verb and resource that the message names (the chart's RBAC rules).",
    ),
    Reason.APPLY_FAILED: ReasonDoc(
        "The API server rejected a child object. The message is the API server's.",
        "Correct the value, usually in spec.serving.podTemplate or spec.serving.resources.",
    ),
}
