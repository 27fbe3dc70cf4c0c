"""The manifest of a bundle: a folder with one revision of a model, ready to serve.

Layout of a bundle folder::

    manifest.json        the Manifest; written and uploaded last, so a bundle is either complete or absent
    model.onnx           the runtime's file (onnxruntime), or
    saved_model/         the runtime's folder (tensorflow)
    golden.npz           golden rows: arrays `input:<name>` and `output:<name>`, without pickles;
                         strings as numpy unicode arrays
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from keras_api.scalars import Digest

MANIFEST_NAME = "manifest.json"
GOLDEN_NAME = "golden.npz"
MANIFEST_VERSION: Final = 1

ANY_SIZE: Final = -1
"""Size of an axis that may have any size."""

Dtype = Literal[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "string",
]


class Contract(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Base of the types that the programs exchange. Fields are camelCase on the wire; unknown fields are an error."""


class Tensor(Contract, frozen=True, kw_only=True):
    """Name, element type and shape of an input or output."""

    name: Annotated[str, Meta(description="Name that requests and responses use.", min_length=1)]
    dtype: Annotated[Dtype, Meta(description="Element type: its numpy name, or string.")]
    shape: Annotated[list[int], Meta(description="Sizes of the axes; -1 for any size. The first axis is the batch.")]
    min_shape: Annotated[
        list[int], Meta(description="Smallest sizes that the model accepts for the axes. Empty: no limit is known.")
    ] = []
    max_shape: Annotated[
        list[int],
        Meta(
            description="Largest sizes that the model accepts for the axes; -1 for no limit. Empty: no limit is known."
        ),
    ] = []


class Parity(Contract, frozen=True, kw_only=True):
    """Agreement of the converted model with Keras."""

    max_abs_error: Annotated[
        str, Meta(description="Largest absolute difference over all outputs, as a decimal string.")
    ]
    agreement: Annotated[str, Meta(description="Fraction of rows with the same argmax, 0 to 1, as a decimal string.")]
    rows: Annotated[int, Meta(description="Number of rows compared.")]


class RejectedRuntime(Contract, frozen=True, kw_only=True):
    """A runtime that was tried and rejected."""

    runtime: Annotated[str, Meta(description="Runtime.")]
    reason: Annotated[str, Meta(description="Why it was rejected.")]


class ModelSummary(Contract, frozen=True, kw_only=True):
    """Properties of a prepared model. The manifest, the step report and the status contain the same summary."""

    digest: Annotated[Digest, Meta(description="sha256 of the model file.")]
    size_bytes: Annotated[int, Meta(description="Size of the model file in bytes.")]
    keras_version: Annotated[
        str, Meta(description="Keras version that saved the model; empty if the file does not contain it.")
    ]
    parameters: Annotated[int, Meta(description="Number of weights, without those of the optimizer.")]
    inputs: Annotated[list[Tensor], Meta(description="Inputs of the model.")]
    outputs: Annotated[list[Tensor], Meta(description="Outputs of the model.")]
    runtime: Annotated[str, Meta(description="Runtime of the model: onnxruntime or tensorflow.")]
    parity: Annotated[Parity, Meta(description="Agreement with Keras.")]
    half_precision: Annotated[
        bool, Meta(description="Whether a layer computes in float16 or bfloat16, which widens the tolerance.")
    ] = False
    rows_independent: Annotated[
        bool, Meta(description="Whether the answer for a row is the same whatever the other rows of a request are.")
    ] = True
    warnings: Annotated[list[str], Meta(description="Differences within Keras itself that users may see.")] = []
    metrics: Annotated[dict[str, str], Meta(description="Metrics on the validation set, as decimal strings.")] = {}
    rejected_runtimes: Annotated[
        list[RejectedRuntime], Meta(description="Runtimes that were tried and rejected, with the reason.")
    ] = field(default_factory=list, name="notTaken")


class SourceRecord(Contract, frozen=True, kw_only=True):
    """Source, version and digest of the model file."""

    uri: str
    fingerprint: str
    digest: Digest
    size_bytes: int


class FileRecord(Contract, frozen=True, kw_only=True):
    """A file of the bundle."""

    path: Annotated[str, Meta(description="Path in the bundle, with forward slashes.")]
    sha256: Annotated[str, Meta(pattern=r"^[a-f0-9]{64}$")]
    size_bytes: Annotated[int, Meta(ge=0)]


class Manifest(Contract, frozen=True, kw_only=True):
    """Contents of manifest.json."""

    version: Literal[1] = MANIFEST_VERSION
    revision: str
    source: SourceRecord
    model: ModelSummary
    entry: Annotated[str, Meta(description="File or folder in the bundle that the runtime loads.")]
    # Tensor names in the runtime's file where they differ from the model's (a SavedModel changes some names).
    input_bindings: dict[str, str] = {}
    output_bindings: dict[str, str] = {}
    versions: Annotated[
        dict[str, str], Meta(description="Versions of the packages that made the bundle, by package name.")
    ]
    files: Annotated[list[FileRecord], Meta(description="All files except the manifest.")]


class ManifestError(ValueError):
    """The manifest is invalid. The message contains the cause."""


class UnknownVersionError(ManifestError):
    """The manifest is of another release, which may be valid there."""


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON. `version` is always written, although it equals its default."""
    content = {"version": MANIFEST_VERSION, **msgspec.to_builtins(manifest)}
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Parse manifest.json strictly.

    Raises:
        UnknownVersionError: the version is not supported by this release.
        ManifestError: an unknown field, a wrong type, a path outside the bundle, or a duplicate path.
    """
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version != MANIFEST_VERSION:
            raise UnknownVersionError(
                f"manifest version {version} is not supported (supported: {MANIFEST_VERSION}): "
                "prepare the model again, or use the release that wrote the manifest"
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ManifestError(f"{MANIFEST_NAME} is not valid: {error}") from error
    for path in (manifest.entry, *(record.path for record in manifest.files)):
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path or not pure.parts:
            raise ManifestError(f"{MANIFEST_NAME} lists {path!r}, which is outside the bundle")
    paths = [PurePosixPath(record.path) for record in manifest.files]
    if PurePosixPath(MANIFEST_NAME) in paths:
        raise ManifestError(f"{MANIFEST_NAME} lists itself")
    if len(set(paths)) < len(paths):
        raise ManifestError(f"{MANIFEST_NAME} lists a file twice")
    return manifest


class _Versioned(Struct):
    version: int
