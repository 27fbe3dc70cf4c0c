"""The KerasModel: spec and status together, and the parser of what the API server returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from keras_api.resource.address import source_options
from keras_api.resource.meta import API_VERSION, KIND, Metadata, Spec, SpecError
from keras_api.resource.monitoring import Monitoring
from keras_api.resource.serving import Serving
from keras_api.resource.source import SourceSpec
from keras_api.resource.status import KerasModelStatus
from keras_api.resource.validation import Validation


class KerasModelSpec(Spec, frozen=True, kw_only=True):
    """What to serve, and how."""

    source: Annotated[
        SourceSpec,
        Meta(
            description="The model file.",
            extra_json_schema=source_options(),
        ),
    ]
    validation: Annotated[Validation | None, Meta(description="What the model must prove before it is served.")] = None
    serving: Annotated[Serving, Meta(description="How the model is served.")] = field(default_factory=Serving)
    monitoring: Annotated[Monitoring, Meta(description="How the model is monitored.")] = field(
        default_factory=Monitoring
    )
    suspend: Annotated[bool, Meta(description="Stop reconciling; what is being served stays as it is.")] = False


class KerasModel(Struct, frozen=True, kw_only=True, rename="camel"):
    """A Keras model to serve."""

    metadata: Metadata
    spec: KerasModelSpec
    status: KerasModelStatus = field(default_factory=KerasModelStatus)
    api_version: str = API_VERSION
    kind: str = KIND


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
