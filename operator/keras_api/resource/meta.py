"""API group, version and kind of the resource, and the base types of its fields."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from keras_api.scalars import ObjectName

GROUP = "keras-operator.dev"
VERSION = "v1alpha1"
KIND = "KerasModel"
PLURAL = "kerasmodels"
API_VERSION = f"{GROUP}/{VERSION}"


# The longest child name is `<model>-prepare-<revision>`, and a Job's name must fit a label value (63).
MAX_NAME_LENGTH = 40


class Spec(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of the types that users write. Fields are camelCase on the wire; unknown fields are an error."""


class Status(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of the types that the operator writes. Unknown fields are ignored: an older operator reads a newer status."""


class SpecError(ValueError):
    """The resource is invalid. The message names the field."""


class Metadata(Struct, frozen=True, kw_only=True, rename="camel"):
    """The fields of an object's metadata that the operator reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class SecretReference(Spec, frozen=True, kw_only=True):
    """A Secret in the namespace of the KerasModel."""

    name: Annotated[ObjectName, Meta(description="Name of the Secret.")]


class ConfigMapReference(Spec, frozen=True, kw_only=True):
    """A ConfigMap in the namespace of the KerasModel."""

    name: Annotated[ObjectName, Meta(description="Name of the ConfigMap.")]
