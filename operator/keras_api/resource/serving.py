"""``spec.serving``: runtime, replicas, resources and the pod template."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from keras_api.resource.meta import Spec
from keras_api.scalars import QUANTITY_PATTERN

Runtime = Literal["onnxruntime", "tensorflow"]


Quantity = Annotated[
    str | int,
    Meta(extra_json_schema={"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maxLength": 32}),
]


class ResourceRequirements(Spec, frozen=True, kw_only=True):
    """Compute resources of a container, as in a PodSpec."""

    requests: Annotated[
        dict[str, Quantity],
        Meta(description="Resources that the scheduler reserves.", max_length=16),
    ] = {}
    limits: Annotated[
        dict[str, Quantity], Meta(description="Resources that the container cannot exceed.", max_length=16)
    ] = {}


class TemplateMetadata(Spec, frozen=True, kw_only=True):
    """Labels and annotations to add to the pods."""

    labels: Annotated[dict[str, str], Meta(description="Labels to add.", max_length=32)] = {}
    annotations: Annotated[dict[str, str], Meta(description="Annotations to add.", max_length=32)] = {}


class PodTemplate(Spec, frozen=True, kw_only=True):
    """Changes to the pods that the operator renders."""

    metadata: Annotated[TemplateMetadata, Meta(description="Labels and annotations to add.")] = field(
        default_factory=TemplateMetadata
    )
    spec: Annotated[
        dict[str, Any],
        Meta(
            description=(
                "PodSpec that is merged into the operator's: maps by key; lists of named items (containers, volumes, env) by "
                "name. Other lists are replaced. The container of the server is named `server`."
            ),
            extra_json_schema={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = {}


class Serving(Spec, frozen=True, kw_only=True):
    """Runtime, replicas, resources and pods of the server."""

    runtime: Annotated[
        Literal["auto", "onnxruntime", "tensorflow"],
        Meta(description="Runtime of the model. auto: the fastest runtime whose outputs agree with those of Keras."),
    ] = "auto"
    non_finite: Annotated[
        Literal["reject", "pass"],
        Meta(
            description=(
                "Requests with NaN or an infinity in an input. reject: the server answers 400 and names the input and the "
                "position. pass: the model gets them; runtimes differ in what they answer."
            )
        ),
    ] = "reject"
    rows_independent: Annotated[
        bool,
        Meta(
            description=(
                "Whether the answer for a row must not depend on the other rows of a request. false: the model may depend on "
                "them; a request has one row, and requests are never batched."
            )
        ),
    ] = True
    replicas: (
        Annotated[
            int,
            Meta(
                description=(
                    "Desired number of pods. `kubectl scale` and a HorizontalPodAutoscaler on the KerasModel set this field. "
                    "If it is absent, the Deployment starts with 1 replica, and the operator does not manage its replicas."
                ),
                ge=0,
                le=1000,
            ),
        ]
        | None
    ) = None
    resources: Annotated[
        ResourceRequirements,
        Meta(description="Resources of the server container. Absent values are derived from the size of the model."),
    ] = field(default_factory=ResourceRequirements)
    pod_template: Annotated[PodTemplate, Meta(description="Changes to the pods of the server.")] = field(
        default_factory=PodTemplate
    )
