"""The manifest: it is read as written, and an invalid manifest is rejected."""

import msgspec
import pytest
from msgspec.structs import replace

from keras_api.manifest import (
    FileRecord,
    Manifest,
    ManifestError,
    ModelSummary,
    Parity,
    RejectedRuntime,
    SourceRecord,
    Tensor,
    decode_manifest,
    encode_manifest,
)

DIGEST = "sha256:" + "a" * 64
MANIFEST = Manifest(
    revision="0123456789",
    source=SourceRecord(uri="s3://models/digits.keras", fingerprint="etag", digest=DIGEST, size_bytes=7),
    model=ModelSummary(
        digest=DIGEST,
        size_bytes=7,
        keras_version="3.15.1",
        parameters=3,
        inputs=[Tensor(name="image", dtype="float32", shape=[-1, 8, 8, 1])],
        outputs=[Tensor(name="digit", dtype="float32", shape=[-1, 10])],
        runtime="onnxruntime",
        parity=Parity(max_abs_error="1e-7", agreement="1", rows=32),
    ),
    entry="model.onnx",
    versions={"keras": "3.15.1"},
    files=[FileRecord(path="model.onnx", sha256="b" * 64, size_bytes=5)],
)


def altered(**changes: object) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(encode_manifest(MANIFEST)), **changes})


def test_a_manifest_is_read_as_written():
    assert decode_manifest(encode_manifest(MANIFEST)) == MANIFEST


def test_rejected_runtimes_are_named_not_taken_on_the_wire():
    rejected = RejectedRuntime(runtime="onnxruntime", reason="no operation X")
    model = replace(MANIFEST.model, rejected_runtimes=[rejected])
    (written,) = msgspec.to_builtins(model)["notTaken"]
    assert written == {"runtime": "onnxruntime", "reason": "no operation X"}
    assert msgspec.convert(msgspec.to_builtins(model), ModelSummary) == model


def test_the_version_is_written_although_it_is_the_default():
    assert msgspec.json.decode(encode_manifest(MANIFEST))["version"] == 1


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "not valid"),
        (b"[]", "not valid"),
        (b"{}", "version"),
        (altered(version=2), "version 2 is not supported"),
        (altered(surprise=1), "surprise"),
        (altered(files=[{"path": "x", "sha256": "B" * 64, "sizeBytes": 1}]), "sha256"),
        (altered(files=[{"path": "x", "sha256": "b" * 64, "sizeBytes": -1}]), "sizeBytes"),
        (altered(revision=3), "revision"),
    ],
)
def test_an_invalid_manifest_is_rejected_with_the_cause(data: bytes, cause: str):
    with pytest.raises(ManifestError, match=cause):
        decode_manifest(data)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a/..", "..", "a\\b", "", ".", "manifest.json"])
def test_a_file_outside_the_bundle_is_rejected(path: str):
    with pytest.raises(ManifestError, match=r"outside|itself"):
        decode_manifest(altered(files=[{"path": path, "sha256": "b" * 64, "sizeBytes": 1}]))


def test_an_entry_outside_the_bundle_is_rejected():
    with pytest.raises(ManifestError, match="outside"):
        decode_manifest(altered(entry="../model.onnx"))


def test_a_duplicate_file_is_rejected():
    record = {"path": "x", "sha256": "b" * 64, "sizeBytes": 1}
    with pytest.raises(ManifestError, match="twice"):
        decode_manifest(altered(files=[record, record]))
