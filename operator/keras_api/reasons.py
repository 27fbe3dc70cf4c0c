"""Every condition and reason that a KerasModel's status can carry, with its meaning and what to do about it."""

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
    ConditionType.READY: "What the spec asks for is live: the wanted revision is the one being served, by all replicas.",
    ConditionType.RECONCILING: "The operator is at work, or waits for something that is expected to happen.",
    ConditionType.STALLED: "No progress without a human: the spec, the model or the surroundings must change.",
    ConditionType.AVAILABLE: "At least one replica answers requests, perhaps with the previous revision.",
    ConditionType.MODEL_PREPARED: "The wanted revision's bundle is in the store, converted and verified.",
    ConditionType.MONITORING_READY: "A ServiceMonitor tells Prometheus to scrape the model's pods.",
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
    SERVICE_MONITOR_APPLIED = "ServiceMonitorApplied"
    SERVICE_MONITOR_DISABLED = "ServiceMonitorDisabled"
    SERVICE_MONITOR_CRD_MISSING = "ServiceMonitorCRDMissing"
    SERVICE_MONITOR_PENDING = "ServiceMonitorPending"
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
    # The surroundings
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
    """What a reason means, what a person does about it, and whether the operator waits for that person."""

    meaning: str
    remedy: str
    needs_human: bool = False  # True: the same inputs would fail again, so nothing is retried until they change


REASON_DOCS: dict[Reason, ReasonDoc] = {
    Reason.RESOLVING: ReasonDoc("The operator asks the source for its current version.", "Nothing: wait."),
    Reason.PREPARING: ReasonDoc(
        "The prepare Job fetches, checks and converts the model.",
        "Nothing: wait. `kubectl logs -l keras-operator.dev/model=NAME,app.kubernetes.io/component=prepare -f` shows it at work.",
    ),
    Reason.PREPARED: ReasonDoc("The bundle of the wanted revision is in the store.", "Nothing."),
    Reason.ROLLING_OUT: ReasonDoc("The Deployment replaces its pods with the wanted revision's.", "Nothing: wait."),
    Reason.SERVING: ReasonDoc("The wanted revision is served by all replicas.", "Nothing."),
    Reason.SCALED_TO_ZERO: ReasonDoc("spec.serving.replicas is 0, so nothing is served.", "Set replicas to 1 or more."),
    Reason.NO_REPLICA_READY: ReasonDoc(
        "No pod of the model answers requests.", "See the Ready condition for the cause."
    ),
    Reason.SUSPENDED: ReasonDoc(
        "spec.suspend is true: the operator changes nothing; what is served stays served.",
        "Set spec.suspend to false.",
    ),
    Reason.PROGRESSING: ReasonDoc("Nothing is stalled.", "Nothing."),
    Reason.SERVICE_MONITOR_APPLIED: ReasonDoc("The ServiceMonitor exists as the spec asks.", "Nothing."),
    Reason.SERVICE_MONITOR_DISABLED: ReasonDoc(
        "spec.monitoring.serviceMonitor.enabled is false.", "Set it to true to be scraped."
    ),
    Reason.SERVICE_MONITOR_CRD_MISSING: ReasonDoc(
        "The cluster has no ServiceMonitor kind (monitoring.coreos.com/v1).",
        "Install the Prometheus operator; the ServiceMonitor then appears by itself.",
    ),
    Reason.SERVICE_MONITOR_PENDING: ReasonDoc(
        "The ServiceMonitor does not exist yet.", "Nothing: the operator creates it. A suspended model gets none."
    ),
    Reason.SPEC_INVALID: ReasonDoc(
        "The spec passed the API server but means nothing to this operator.",
        "Read the message; correct the named field, or upgrade the operator if the field is newer than it.",
        needs_human=True,
    ),
    Reason.NAME_CONFLICT: ReasonDoc(
        "An object with the name of one of the model's children exists and belongs to somebody else.",
        "Rename the KerasModel, or delete the named object. It is never taken over.",
    ),
    Reason.SOURCE_NOT_FOUND: ReasonDoc(
        "The source answers, but the file (or bucket, or claim) is not there.",
        "Correct spec.source.uri or put the file there; the operator looks again.",
    ),
    Reason.SOURCE_ACCESS_DENIED: ReasonDoc(
        "The source refuses the credentials, or wants some.",
        "Set spec.source.secretRef to a Secret with the right keys (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...).",
    ),
    Reason.SOURCE_UNREACHABLE: ReasonDoc(
        "The source's host does not resolve, refuses the connection, or does not answer in time.",
        "Check the host in spec.source, DNS and network policies; the operator tries again with growing pauses.",
    ),
    Reason.SOURCE_TOO_LARGE: ReasonDoc(
        "The file is larger than the operator's limit.", "Serve a smaller model, or raise the chart's limit.", True
    ),
    Reason.SOURCE_CHANGED: ReasonDoc(
        "The file was replaced between the operator's look at it and the prepare Job's.",
        "Nothing: the operator looks again at once and prepares the new file.",
    ),
    Reason.SECRET_NOT_FOUND: ReasonDoc(
        "The Secret that spec.source.secretRef names, or a key that is needed in it, does not exist.",
        "Create what the message names, in the model's namespace; the operator looks again.",
    ),
    Reason.DIGEST_MISMATCH: ReasonDoc(
        "The file's sha256 is not spec.source.digest.",
        "Correct the digest, or find out who changed the file.",
        True,
    ),
    Reason.MODEL_UNREADABLE: ReasonDoc(
        "The file is not a whole Keras model; the message says what it is.",
        "Save it with `model.save('name.keras')` and upload it again.",
        True,
    ),
    Reason.MODEL_UNSAFE: ReasonDoc(
        "Loading the model could execute foreign code, read files, or exhaust memory; it was not loaded.",
        "Replace what the message names (for a Lambda layer: a registered layer or keras.ops) and save again.",
        True,
    ),
    Reason.MODEL_UNSUPPORTED: ReasonDoc(
        "This version cannot serve the model (a custom layer without its code, a newer Keras, no inputs, weights that are NaN).",
        "Read the message: it names the layer or version and what would help.",
        True,
    ),
    Reason.CONVERSION_FAILED: ReasonDoc(
        "No runtime that spec.serving.runtime allows can run the model.",
        "Set spec.serving.runtime to auto, which falls back to TensorFlow.",
        True,
    ),
    Reason.PARITY_FAILED: ReasonDoc(
        "The converted model's answers differ from Keras's beyond the tolerance.",
        "Set spec.serving.runtime to auto or tensorflow; the message holds the figures.",
        True,
    ),
    Reason.VALIDATION_DATA_INVALID: ReasonDoc(
        "spec.validation.data cannot be read as rows for this model.",
        "Correct what the message names: a column, a row, a type.",
        True,
    ),
    Reason.VALIDATION_FAILED: ReasonDoc(
        "A metric on spec.validation.data misses its bound; the revision is not served.",
        "Train a better model, or change spec.validation.require.",
        True,
    ),
    Reason.PREPARE_FAILED: ReasonDoc(
        "The prepare Job failed without saying why, or its pod was lost (deleted, or with its node).",
        "Read its logs; the message names the pod and its exit code. After a lost pod the operator tries again by itself.",
        True,
    ),
    Reason.DEADLINE_EXCEEDED: ReasonDoc(
        "The prepare Job ran longer than allowed.",
        "Raise the chart's prepare deadline, or look what it waited for.",
        True,
    ),
    Reason.STORE_UNAVAILABLE: ReasonDoc(
        "The artifact store does not answer, refuses, or is full; the message says which.",
        "Check the store (`kubectl -n keras-system get pods`) and the room that its volume has; running pods are not affected.",
    ),
    Reason.BUNDLE_INVALID: ReasonDoc(
        "The revision's bundle in the store is missing, incomplete or altered; it was not served.",
        "Nothing: the operator prepares it again. If it happens often, look what deletes or alters files in the store.",
    ),
    Reason.IMAGE_PULL_FAILED: ReasonDoc(
        "The kubelet cannot pull an image.",
        "Check the chart's image.registry and pull secrets.",
    ),
    Reason.UNSCHEDULABLE: ReasonDoc(
        "No node has room for the pod.", "Lower spec.serving.resources or add nodes; the message says what is missing."
    ),
    Reason.POD_REFUSED: ReasonDoc(
        "The API server refuses the pod (ResourceQuota, Pod Security, LimitRange).",
        "The message is the API server's own; change the quota or the pod's settings.",
    ),
    Reason.EVICTED: ReasonDoc(
        "The kubelet threw the pod off its node, which was short of something, or because the pod used more disk than allowed.",
        "Make room on the node, or raise the limit that the message names (often a LimitRange's); another pod follows.",
    ),
    Reason.VOLUME_UNAVAILABLE: ReasonDoc(
        "A volume is full, or cannot be mounted: its claim, Secret or ConfigMap is missing, or the claim is not bound.",
        "Create what the message names, or correct the pvc:// address. What is full is the disk of the pod's node: make room there.",
    ),
    Reason.OUT_OF_MEMORY: ReasonDoc(
        "The kernel killed a container at its memory limit.",
        "Raise spec.serving.resources.limits.memory (server). The prepare Job is tried again with what its file usually takes, then with twice as much; after that raise the chart's prepare.memory.",
    ),
    Reason.CRASH_LOOP: ReasonDoc(
        "A container ends again and again; the message holds its last words.", "Read them and the pod's logs."
    ),
    Reason.NOT_READY: ReasonDoc(
        "Pods run but do not turn ready.", "The message says what the server says; see its logs for the rest."
    ),
    Reason.FORBIDDEN: ReasonDoc(
        "The operator may not do what it must.", "Grant the verb and resource that the message names (chart RBAC)."
    ),
    Reason.APPLY_FAILED: ReasonDoc(
        "The API server refused a child that the operator applied; the message is its own.",
        "Usually a value in spec.serving.podTemplate or resources: correct it.",
    ),
}
