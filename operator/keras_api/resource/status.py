"""``status``: the state of the model, as the operator observes it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from keras_api.manifest import ModelSummary
from keras_api.resource.meta import Status


class Condition(Status, frozen=True, kw_only=True):
    """A condition, as metav1.Condition."""

    type: Annotated[str, Meta(description="Type of the condition.", max_length=316)]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether the condition holds.")]
    reason: Annotated[str, Meta(description="Cause, as one word in CamelCase.", max_length=1024)]
    message: Annotated[str, Meta(description="Cause and remedy, for humans.", max_length=32768)]
    last_transition_time: Annotated[
        str, Meta(description="When the status last changed.", extra_json_schema={"format": "date-time"})
    ]
    observed_generation: Annotated[
        int, Meta(description="Generation of the spec that the condition describes.", ge=0)
    ] = 0


class SourceStatus(Status, frozen=True, kw_only=True):
    """The source as last observed."""

    fingerprint: Annotated[
        str, Meta(description="Version of the file: its digest, its ETag, or its size and modification time.")
    ]
    uri: Annotated[str, Meta(description="Address of the file.")]
    size_bytes: Annotated[int, Meta(description="Size of the file in bytes.")] | None = None


class LastFailure(Status, frozen=True, kw_only=True):
    """The most recent failure. It is kept after the failure is fixed."""

    step: Annotated[str, Meta(description="Step that failed: resolve, prepare or serve.")]
    reason: Annotated[str, Meta(description="Cause, as one word in CamelCase.")]
    message: Annotated[str, Meta(description="Cause and remedy, for humans.")]
    time: Annotated[
        str, Meta(description="When the failure was first observed.", extra_json_schema={"format": "date-time"})
    ]
    revision: Annotated[str, Meta(description="Revision that failed.")] = ""
    exit_code: Annotated[int, Meta(description="Exit code of the container that failed.")] | None = None


class HistoryEntry(Status, frozen=True, kw_only=True):
    """A revision that was served by all replicas."""

    revision: Annotated[str, Meta(description="Revision.")]
    digest: Annotated[str, Meta(description="sha256 of the model file.")]
    served_from: Annotated[
        str, Meta(description="When all replicas first served the revision.", extra_json_schema={"format": "date-time"})
    ]
    metrics: Annotated[dict[str, str], Meta(description="Metrics on the validation set.")] = {}


class KerasModelStatus(Status, frozen=True, kw_only=True):
    """The state of the model. The operator observed every value."""

    observed_generation: Annotated[int, Meta(description="Generation of the spec that the status describes.")] = 0
    url: Annotated[str, Meta(description="URL of the model inside the cluster.")] = ""
    conditions: Annotated[
        list[Condition],
        Meta(
            description="Conditions: Ready, Reconciling, Stalled, Available, ModelPrepared and MonitoringReady.",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    desired_revision: Annotated[str, Meta(description="Revision that follows from the spec and the source.")] = ""
    prepared_revision: Annotated[
        str,
        Meta(
            description="Last revision that was prepared: the one that the Deployment runs and status.model describes."
        ),
    ] = ""
    serving_revision: Annotated[str, Meta(description="Revision that the ready pods serve.")] = ""
    replicas: Annotated[int, Meta(description="Number of pods of the Deployment.")] = 0
    ready_replicas: Annotated[int, Meta(description="Number of pods that answer requests.")] = 0
    selector: Annotated[str, Meta(description="Label selector of the pods, for the scale subresource.")] = ""
    source: Annotated[SourceStatus | None, Meta(description="The source as last observed.")] = None
    model: Annotated[ModelSummary | None, Meta(description="The model of the prepared revision.")] = None
    last_failure: Annotated[LastFailure | None, Meta(description="The most recent failure.")] = None
    history: Annotated[
        list[HistoryEntry], Meta(description="Revisions that all replicas served, newest first.", max_length=5)
    ] = []
