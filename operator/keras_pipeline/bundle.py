"""Finishes a bundle folder: hashes what lies in it and writes the manifest last, so a bundle is whole or absent."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

from keras_api.bundle import MANIFEST_NAME, FileRecord, Manifest, ModelSummary, SourceRecord, encode_manifest

PACKAGES = ("keras-operator", "keras", "numpy", "onnx", "onnxruntime", "tensorflow-cpu", "tf2onnx")


def write_manifest(
    folder: Path, revision: str, source: SourceRecord, model: ModelSummary, entry: str, input_bindings: dict[str, str]
) -> None:
    """Write manifest.json for the files in a folder."""
    manifest = Manifest(
        revision=revision,
        source=source,
        model=model,
        entry=entry,
        input_bindings=input_bindings,
        versions={"python": platform.python_version(), **_versions()},
        files=[_record(folder, path) for path in sorted(folder.rglob("*")) if path.is_file()],
    )
    partial = folder / f".{MANIFEST_NAME}"
    with partial.open("wb") as file:
        file.write(encode_manifest(manifest))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(folder / MANIFEST_NAME)


def _record(folder: Path, path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(path=path.relative_to(folder).as_posix(), sha256=digest, size_bytes=path.stat().st_size)


def _versions() -> dict[str, str]:
    installed = {distribution.name.lower() for distribution in metadata.distributions()}
    return {name: metadata.version(name) for name in PACKAGES if name in installed}
