"""``status``: what the operator reports."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from keras_api.manifest import ModelSummary
from keras_api.resource.meta import Status


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
