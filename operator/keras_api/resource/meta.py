"""Group, version and kind, and the base types of the resource."""

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
    """Base of every type a user writes: camelCase on the wire, unknown fields refused."""


class Status(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every type the operator writes: unknown fields ignored, so that an older operator can read a newer one's."""


class SpecError(ValueError):
    """A resource that cannot be understood; the text names the field."""


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


class SecretReference(Spec, frozen=True, kw_only=True):
    """A Secret in the KerasModel's namespace."""

    name: Annotated[ObjectName, Meta(description="Name of the Secret.")]


class ConfigMapReference(Spec, frozen=True, kw_only=True):
    """A ConfigMap in the KerasModel's namespace."""

    name: Annotated[ObjectName, Meta(description="Name of the ConfigMap.")]
