"""The KerasModel resource: spec and status as types with bounds, defaults, descriptions and CEL rules.

The CustomResourceDefinition in ``crds/`` is generated from these types (`keras_api.crd`), and the operator parses
with them, so what the API server accepts and what the operator understands cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from keras_api.manifest import ModelSummary
from keras_api.scalars import (
    DECIMAL_PATTERN,
    DURATION_PATTERN,
    ENDPOINT_PATTERN,
    QUANTITY_PATTERN,
    REGION_PATTERN,
    DecimalString,
    Digest,
    Duration,
    Interval,
    ObjectName,
)

GROUP = "keras-operator.dev"
VERSION = "v1alpha1"
KIND = "KerasModel"
PLURAL = "kerasmodels"
API_VERSION = f"{GROUP}/{VERSION}"

# The longest child name is `<model>-prepare-<revision>`, and a Job's name must fit a label value (63).
MAX_NAME_LENGTH = 40

Runtime = Literal["onnxruntime", "tensorflow"]

URI_PATTERN = r"^(s3|https?|pvc)://[^/\s]+/\S+$"
# A name, an IPv4 or an IPv6 address, and a port up to 65535.
HTTP_HOST_PATTERN = (
    r"^https?://(\[[0-9a-fA-F:.]+\]|[^/:@]+)"
    r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/"
)
CSV_URI_PATTERN = r"^(s3|https?|pvc)://[^/\s]+/\S+\.csv$"


def cel(rule: str, message: str, **more: str) -> dict[str, str]:
    """One entry of ``x-kubernetes-validations``."""
    return {"rule": rule, "message": message, **more}


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """Schema extension that makes the API server enforce CEL rules."""
    return {"x-kubernetes-validations": list(entries)}


def cel_string(text: str) -> str:
    """A text as CEL writes it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# What holds for the address of any file.
ADDRESS_RULES = (
    cel("!self.contains('/../') && !self.contains('/./')", "must not contain . or .. as a path segment"),
    cel(
        "!self.matches('^https?://[^/?#]*@')",
        "must not hold credentials: put them into a Secret and name it in spec.source.secretRef",
    ),
    cel(
        f"!self.matches('^https?://[^/@]+/') || self.matches({cel_string(HTTP_HOST_PATTERN)})",
        "must be a URL whose port, if it has one, is a number from 1 to 65535",
    ),
    cel(
        "!self.startsWith('pvc://') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/')",
        "must name a claim by lower-case letters, digits, dots and dashes",
    ),
)


class Spec(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of every type a user writes: camelCase on the wire, unknown fields refused."""


class Status(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every type the operator writes: unknown fields ignored, so that an older operator can read a newer one's."""


class SecretReference(Spec, frozen=True, kw_only=True):
    """A Secret in the KerasModel's namespace."""

    name: Annotated[ObjectName, Meta(description="Name of the Secret.")]


class ConfigMapReference(Spec, frozen=True, kw_only=True):
    """A ConfigMap in the KerasModel's namespace."""

    name: Annotated[ObjectName, Meta(description="Name of the ConfigMap.")]


class CustomObjects(Spec, frozen=True, kw_only=True):
    """The code of classes and functions that are not part of Keras."""

    config_map_ref: Annotated[
        ConfigMapReference,
        Meta(
            description=(
                "ConfigMap whose keys are Python files (layers.py). New content needs a new name, as kustomize's "
                "configMapGenerator gives it: under the old one it is not noticed."
            )
        ),
    ]


class S3Options(Spec, frozen=True, kw_only=True):
    """Where an s3:// address leads."""

    endpoint: (
        Annotated[
            str,
            Meta(
                description="URL of an S3-compatible service, for example http://minio.storage.svc:9000. Default: AWS.",
                pattern=ENDPOINT_PATTERN,
                max_length=512,
            ),
        ]
        | None
    ) = None
    region: Annotated[str, Meta(description="Region of the bucket.", pattern=REGION_PATTERN, max_length=64)] = (
        "us-east-1"
    )


class SourceSpec(Spec, frozen=True, kw_only=True):
    """A Keras model in a file."""

    uri: Annotated[
        str,
        Meta(
            description=(
                "Address of the model file (.keras, or legacy .h5): s3://bucket/key, https://host/path, http://host/path "
                "or pvc://claim/path."
            ),
            max_length=2048,
            extra_json_schema=rules(
                cel(
                    f"self.matches({cel_string(URI_PATTERN)})",
                    "must be s3://bucket/key, https://host/path, http://host/path or pvc://claim/path",
                ),
                *ADDRESS_RULES,
                cel("self.matches('[.](keras|h5|hdf5)([?].*)?$')", "must end in .keras, .h5 or .hdf5"),
            ),
        ),
    ]
    digest: (
        Annotated[
            Digest,
            Meta(
                description="sha256 that the file must have, as sha256:<64 hex digits>. Pins the model: the source is not polled."
            ),
        ]
        | None
    ) = None
    poll_interval: Annotated[
        Duration,
        Meta(
            description=(
                "How often to look for a new file at the same address; 0s: never. No effect with digest or a pvc:// address."
            ),
            extra_json_schema=rules(
                cel(
                    f"!self.matches({cel_string(DURATION_PATTERN)}) || duration(self) == duration('0s') || "
                    "(duration(self) >= duration('10s') && duration(self) <= duration('8760h'))",
                    "must be 0s (never), or from 10s to 8760h (a year)",
                )
            ),
        ),
    ] = "5m"
    secret_ref: Annotated[
        SecretReference | None,
        Meta(
            description=(
                "Secret with credentials under their usual environment names: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
                "AWS_SESSION_TOKEN for s3; HTTP_BEARER_TOKEN, or HTTP_USERNAME and HTTP_PASSWORD, for http(s)."
            )
        ),
    ] = None
    s3: Annotated[S3Options | None, Meta(description="Options for s3:// addresses.")] = None
    custom_objects: Annotated[
        CustomObjects | None,
        Meta(
            description=(
                "Code of the model's own layers and functions, where it has such. It is imported by the prepare step, which "
                "holds no credentials, and nowhere else."
            )
        ),
    ] = None


# Absent, or not a number, of which another rule complains.
_NO_MIN, _NO_MAX = (
    f"(!has(self.{field}) || !self.{field}.matches({cel_string(DECIMAL_PATTERN)}))" for field in ("min", "max")
)


class Requirement(Spec, frozen=True, kw_only=True):
    """A bound on a metric of the validation set."""

    metric: Annotated[
        Literal["accuracy", "mean_absolute_error", "mean_squared_error"], Meta(description="Metric, by its Keras name.")
    ]
    min: (
        Annotated[DecimalString, Meta(description='Smallest value that passes, as a decimal string such as "0.95".')]
        | None
    ) = None
    max: (
        Annotated[DecimalString, Meta(description='Largest value that passes, as a decimal string such as "0.1".')]
        | None
    ) = None


class Validation(Spec, frozen=True, kw_only=True):
    """Rows with known answers that a model must pass before it is served."""

    data: Annotated[
        str,
        Meta(
            description=(
                "Address of a CSV file with a header: one column per input value, and the expected answer. Fetched with the "
                "source's Secret and options."
            ),
            max_length=2048,
            extra_json_schema=rules(
                cel(
                    f"self.matches({cel_string(CSV_URI_PATTERN)})",
                    "must be the address (s3, https, http or pvc) of a .csv file",
                ),
                *ADDRESS_RULES,
            ),
        ),
    ]
    label: Annotated[str, Meta(description="Column that holds the expected answer.", min_length=1, max_length=128)] = (
        "label"
    )
    require: Annotated[
        list[
            Annotated[
                Requirement,
                Meta(
                    extra_json_schema=rules(
                        cel("has(self.min) || has(self.max)", "give min, max or both", fieldPath=".metric"),
                        cel(
                            f"{_NO_MIN} || {_NO_MAX} || double(self.min) <= double(self.max)",
                            "min must not be above max",
                            fieldPath=".min",
                        ),
                        cel(
                            f"self.metric != 'accuracy' || (({_NO_MIN} || double(self.min) <= 1.0) && "
                            f"({_NO_MAX} || double(self.max) >= 0.0))",
                            'accuracy is a share between 0 and 1: write "0.95" for 95 %',
                            fieldPath=".metric",
                        ),
                    )
                ),
            ]
        ],
        Meta(
            description="Bounds that must hold; without any, the metrics are only reported.",
            max_length=8,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]},
        ),
    ] = []


Quantity = Annotated[
    str | int,
    Meta(extra_json_schema={"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maxLength": 32}),
]


class ResourceRequirements(Spec, frozen=True, kw_only=True):
    """Compute resources of a container, as in a Pod."""

    requests: Annotated[
        dict[str, Quantity],
        Meta(description="What is reserved.", max_length=16),
    ] = {}
    limits: Annotated[dict[str, Quantity], Meta(description="What must not be exceeded.", max_length=16)] = {}


class TemplateMetadata(Spec, frozen=True, kw_only=True):
    """Labels and annotations to add to the pods."""

    labels: Annotated[dict[str, str], Meta(description="Labels to add.", max_length=32)] = {}
    annotations: Annotated[dict[str, str], Meta(description="Annotations to add.", max_length=32)] = {}


class PodTemplate(Spec, frozen=True, kw_only=True):
    """What to change in the pods that the operator renders."""

    metadata: Annotated[TemplateMetadata, Meta(description="Labels and annotations to add.")] = field(
        default_factory=TemplateMetadata
    )
    spec: Annotated[
        dict[str, Any],
        Meta(
            description=(
                "A PodSpec merged over the operator's: maps by key, lists of named things (containers, volumes, env) by name, "
                "other lists replaced. The server's container is named `server`."
            ),
            extra_json_schema={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = {}


class Serving(Spec, frozen=True, kw_only=True):
    """How the model is served."""

    runtime: Annotated[
        Literal["auto", "onnxruntime", "tensorflow"],
        Meta(description="What runs the model; auto takes the fastest that gives Keras's answers."),
    ] = "auto"
    replicas: (
        Annotated[
            int,
            Meta(
                description=(
                    "Pods wanted. `kubectl scale` and a HorizontalPodAutoscaler on the KerasModel set it; when it is absent the "
                    "Deployment's replicas are left to others (1 at first)."
                ),
                ge=0,
                le=1000,
            ),
        ]
        | None
    ) = None
    resources: Annotated[
        ResourceRequirements,
        Meta(description="Resources of the server container; what is absent is chosen from the model's size."),
    ] = field(default_factory=ResourceRequirements)
    pod_template: Annotated[PodTemplate, Meta(description="Changes to the pods.")] = field(default_factory=PodTemplate)


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


class KerasModelSpec(Spec, frozen=True, kw_only=True):
    """What to serve, and how."""

    source: Annotated[
        SourceSpec,
        Meta(
            description="The model file.",
            extra_json_schema=rules(
                cel("!has(self.s3) || self.uri.startsWith('s3://')", "s3 options need an s3:// uri", fieldPath=".s3")
            ),
        ),
    ]
    validation: Annotated[Validation | None, Meta(description="What the model must prove before it is served.")] = None
    serving: Annotated[Serving, Meta(description="How the model is served.")] = field(default_factory=Serving)
    monitoring: Annotated[Monitoring, Meta(description="How the model is monitored.")] = field(
        default_factory=Monitoring
    )
    suspend: Annotated[bool, Meta(description="Stop reconciling; what is being served stays as it is.")] = False


class Condition(Status, frozen=True, kw_only=True):
    """One aspect of the model's state, as in metav1.Condition."""

    type: Annotated[str, Meta(description="Aspect.", max_length=316)]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether it holds.")]
    reason: Annotated[str, Meta(description="Cause, in one word.", max_length=1024)]
    message: Annotated[str, Meta(description="Cause, for people.", max_length=32768)]
    last_transition_time: Annotated[
        str, Meta(description="When status last changed.", extra_json_schema={"format": "date-time"})
    ]
    observed_generation: Annotated[int, Meta(description="Generation of the spec that this was said of.", ge=0)] = 0


class SourceStatus(Status, frozen=True, kw_only=True):
    """The source as last seen."""

    fingerprint: Annotated[
        str, Meta(description="What identifies the file's content: its digest, ETag, or size and time.")
    ]
    uri: Annotated[str, Meta(description="Address that was asked.")]
    size_bytes: Annotated[int, Meta(description="Size of the file in bytes.")] | None = None


class LastFailure(Status, frozen=True, kw_only=True):
    """The last thing that went wrong, kept after it is mended."""

    step: Annotated[str, Meta(description="resolve, prepare or serve.")]
    reason: Annotated[str, Meta(description="Cause, in one word.")]
    message: Annotated[str, Meta(description="Cause, for people.")]
    time: Annotated[str, Meta(description="When it was first seen.", extra_json_schema={"format": "date-time"})]
    revision: Annotated[str, Meta(description="Revision that failed.")] = ""
    exit_code: Annotated[int, Meta(description="Exit code of the container.")] | None = None


class HistoryEntry(Status, frozen=True, kw_only=True):
    """A revision that was served."""

    revision: Annotated[str, Meta(description="Revision.")]
    digest: Annotated[str, Meta(description="sha256 of its model file.")]
    served_from: Annotated[
        str, Meta(description="When all replicas first served it.", extra_json_schema={"format": "date-time"})
    ]
    metrics: Annotated[dict[str, str], Meta(description="Metrics on the validation set.")] = {}


class KerasModelStatus(Status, frozen=True, kw_only=True):
    """What the operator saw and did. Every claim here was observed."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that this status is about.")] = 0
    url: Annotated[str, Meta(description="Address inside the cluster.")] = ""
    conditions: Annotated[
        list[Condition],
        Meta(
            description="Ready, Reconciling, Stalled, Available, ModelPrepared, MonitoringReady.",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    desired_revision: Annotated[str, Meta(description="Revision that the spec and the source ask for.")] = ""
    prepared_revision: Annotated[
        str, Meta(description="Revision that model describes and the Deployment runs: the last one prepared.")
    ] = ""
    serving_revision: Annotated[str, Meta(description="Revision that the ready pods serve.")] = ""
    replicas: Annotated[int, Meta(description="Pods of the Deployment.")] = 0
    ready_replicas: Annotated[int, Meta(description="Pods that answer requests.")] = 0
    selector: Annotated[str, Meta(description="Label selector of the pods, for the scale subresource.")] = ""
    source: Annotated[SourceStatus | None, Meta(description="The source as last seen.")] = None
    model: Annotated[ModelSummary | None, Meta(description="The prepared revision's model.")] = None
    last_failure: Annotated[LastFailure | None, Meta(description="The last thing that went wrong.")] = None
    history: Annotated[
        list[HistoryEntry], Meta(description="Revisions that were served, newest first.", max_length=5)
    ] = []


class Metadata(Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of an object's metadata that the operator reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class KerasModel(Struct, frozen=True, kw_only=True, rename="camel"):
    """A Keras model to serve."""

    metadata: Metadata
    spec: KerasModelSpec
    status: KerasModelStatus = field(default_factory=KerasModelStatus)
    api_version: str = API_VERSION
    kind: str = KIND


class SpecError(ValueError):
    """A resource that cannot be understood; the text names the field."""


def parse_model(body: Mapping[str, Any]) -> KerasModel:
    """Parse a KerasModel as the API server returns it.

    Raises:
        SpecError: naming the field and what is wrong with it.
    """
    try:
        model = msgspec.convert({**body, "status": {}}, KerasModel)
    except msgspec.ValidationError as error:
        raise SpecError(f"this operator cannot read the resource: {error}") from error
    try:
        status = msgspec.convert(body.get("status") or {}, KerasModelStatus)
    except msgspec.ValidationError:
        # Status is our own memory, not a user's wish: what an unknown version wrote is written anew.
        status = KerasModelStatus()
    return msgspec.structs.replace(model, status=status)
