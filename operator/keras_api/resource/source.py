"""``spec.source``: where the model file is, and how to read it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from keras_api.resource.cel import cel, cel_string, rules
from keras_api.resource.meta import ConfigMapReference, SecretReference, Spec
from keras_api.scalars import DURATION_PATTERN, ENDPOINT_PATTERN, REGION_PATTERN, Digest, Duration

URI_PATTERN = r"^(s3|https?|pvc)://[^/\s]+/\S+$"


# A name, an IPv4 or an IPv6 address, and a port up to 65535.
HTTP_HOST_PATTERN = (
    r"^https?://(\[[0-9a-fA-F:.]+\]|[^/:@]+)"
    r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/"
)


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
