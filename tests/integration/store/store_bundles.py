"""Bundle folders for tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from keras_api.manifest import FileRecord, Manifest, ModelSummary, Parity, SourceRecord, Tensor, encode_manifest


def make_bundle(folder: Path, files: dict[str, bytes], revision: str = "rev") -> Path:
    """Write files and their manifest."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    write_manifest(folder, revision)
    return folder


def write_manifest(folder: Path, revision: str = "rev") -> None:
    """Write the manifest of the files that are there."""
    tensor = Tensor(name="x", dtype="float32", shape=[-1, 1])
    digest = f"sha256:{hashlib.sha256(b'source').hexdigest()}"
    records = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        records.append(
            FileRecord(path=file.relative_to(folder).as_posix(), sha256=sha256, size_bytes=file.stat().st_size)
        )
    manifest = Manifest(
        revision=revision,
        source=SourceRecord(uri="s3://models/m.keras", fingerprint="etag", digest=digest, size_bytes=6),
        model=ModelSummary(
            digest=digest,
            size_bytes=6,
            keras_version="3.15.1",
            parameters=1,
            inputs=[tensor],
            outputs=[tensor],
            runtime="onnxruntime",
            parity=Parity(max_abs_error="0", agreement="1", rows=1),
        ),
        entry=records[0].path,
        versions={},
        files=records,
    )
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
