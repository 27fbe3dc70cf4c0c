"""``spec.source``: where the model file is, and how to read it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from keras_api.resource.address import file_address
from keras_api.resource.cel import cel, cel_string, rules
from keras_api.resource.meta import ConfigMapReference, SecretReference, Spec
from keras_api.scalars import DURATION_PATTERN, ENDPOINT_PATTERN, REGION_PATTERN, Digest, Duration


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
            description=("Address of the model file (.keras, or legacy .h5): {addresses}."),
            max_length=2048,
            extra_json_schema=file_address(
                cel("self.matches('[.](keras|h5|hdf5)([?].*)?$')", "must end in .keras, .h5 or .hdf5")
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
                "How often to look for a new file at the same address; 0s: never. No effect with digest or {unpolled}."
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
        Meta(description="Secret with credentials under their usual environment names: {credentials}."),
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
