"""The bundle: a folder that holds one revision of a model, ready to serve. This is its manifest, strictly parsed.

Layout of a bundle folder::

    manifest.json        this module's Manifest; written and uploaded last, so a bundle is whole or absent
    model.onnx           the runtime's file (onnxruntime), or
    saved_model/         the runtime's folder (tensorflow)
    golden.npz           golden inputs and outputs: arrays `input:<name>` and `output:<name>`, no pickles;
                         strings as numpy unicode arrays
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from keras_api.scalars import Digest

MANIFEST_NAME = "manifest.json"
GOLDEN_NAME = "golden.npz"
MANIFEST_VERSION: Final = 1

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
    """Base of what one of our programs writes and another reads: camelCase on the wire, unknown fields refused."""


class Tensor(Contract, frozen=True, kw_only=True):
    """Name, shape and type of an input or output."""

    name: Annotated[str, Meta(description="Name that requests and responses use.", min_length=1)]
    dtype: Annotated[Dtype, Meta(description="Element type, by its numpy name, or string.")]
    shape: Annotated[list[int], Meta(description="Sizes; -1 where any size goes. The first is the batch.")]


class Parity(Contract, frozen=True, kw_only=True):
    """How well the converted model agrees with Keras."""

    max_abs_error: Annotated[
        str, Meta(description="Largest absolute difference over all outputs, as a decimal string.")
    ]
    agreement: Annotated[str, Meta(description="Share of rows with the same argmax, 0 to 1, as a decimal string.")]
    rows: Annotated[int, Meta(description="Rows compared.")]


class Attempt(Contract, frozen=True, kw_only=True):
    """A runtime that was tried and not taken."""

    runtime: Annotated[str, Meta(description="Runtime.")]
    reason: Annotated[str, Meta(description="Why it was not taken.")]


class ModelSummary(Contract, frozen=True, kw_only=True):
    """What is worth knowing about a prepared model; the same in manifest, step report and status."""

    digest: Annotated[Digest, Meta(description="sha256 of the model file.")]
    size_bytes: Annotated[int, Meta(description="Size of the model file in bytes.")]
    keras_version: Annotated[str, Meta(description="Keras that saved the model; empty when the file does not say.")]
    parameters: Annotated[int, Meta(description="Number of weights, without the optimizer's.")]
    inputs: Annotated[list[Tensor], Meta(description="Inputs.")]
    outputs: Annotated[list[Tensor], Meta(description="Outputs.")]
    runtime: Annotated[str, Meta(description="What runs the model: onnxruntime or tensorflow.")]
    parity: Annotated[Parity, Meta(description="Agreement with Keras.")]
    metrics: Annotated[dict[str, str], Meta(description="Metrics on the validation set, as decimal strings.")] = {}
    not_taken: Annotated[
        list[Attempt], Meta(description="Faster runtimes that were tried, and why they were not taken.")
    ] = []


class SourceRecord(Contract, frozen=True, kw_only=True):
    """Where the model file came from, and what it is."""

    uri: str
    fingerprint: str
    digest: Digest
    size_bytes: int


class FileRecord(Contract, frozen=True, kw_only=True):
    """A file of the bundle."""

    path: Annotated[str, Meta(description="Path inside the bundle, with forward slashes.")]
    sha256: Annotated[str, Meta(pattern=r"^[a-f0-9]{64}$")]
    size_bytes: Annotated[int, Meta(ge=0)]


class Manifest(Contract, frozen=True, kw_only=True):
    """Contents of manifest.json."""

    version: Literal[1] = MANIFEST_VERSION
    revision: str
    source: SourceRecord
    model: ModelSummary
    entry: Annotated[str, Meta(description="The runtime's file or folder inside the bundle.")]
    # Tensor names of the runtime's file where they differ from the model's own (a SavedModel mangles some names).
    input_bindings: dict[str, str] = {}
    output_bindings: dict[str, str] = {}
    versions: Annotated[dict[str, str], Meta(description="Versions of what made the bundle, by package name.")]
    files: Annotated[list[FileRecord], Meta(description="Every file but the manifest itself.")]


class ManifestError(ValueError):
    """A manifest that cannot be trusted; the text says why."""


class UnknownVersionError(ManifestError):
    """A manifest of another release, which may be right for all that is known here."""


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON, indented for people. `version` is always written, though it equals its default."""
    content = {"version": MANIFEST_VERSION, **msgspec.to_builtins(manifest)}
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Parse manifest.json strictly.

    Raises:
        UnknownVersionError: a version that is not known here.
        ManifestError: unknown field, wrong type, a file path that leaves the bundle, or one named twice.
    """
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version != MANIFEST_VERSION:
            raise UnknownVersionError(
                f"manifest version {version} is not known here (this is {MANIFEST_VERSION}): "
                "prepare the model again, or use the release that wrote it"
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ManifestError(f"{MANIFEST_NAME} is not valid: {error}") from error
    for path in (manifest.entry, *(record.path for record in manifest.files)):
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path or not pure.parts:
            raise ManifestError(f"{MANIFEST_NAME} names {path!r}, which lies outside the bundle")
    paths = [PurePosixPath(record.path) for record in manifest.files]
    if PurePosixPath(MANIFEST_NAME) in paths:
        raise ManifestError(f"{MANIFEST_NAME} names itself among the files")
    if len(set(paths)) < len(paths):
        raise ManifestError(f"{MANIFEST_NAME} names a file twice")
    return manifest


class _Versioned(Struct):
    version: int
