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
