"""Writes the manifest of a bundle folder, with the hashes of its files."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from keras_api.manifest import MANIFEST_NAME, FileRecord, Manifest, ModelSummary, SourceRecord, encode_manifest

PACKAGES = ("keras-operator", "keras", "numpy", "onnx", "onnxruntime", "tensorflow-cpu", "tf2onnx")


def write_manifest(
    folder: Path, revision: str, source: SourceRecord, model: ModelSummary, entry: str, input_bindings: dict[str, str]
) -> None:
    """Write manifest.json for the files in the folder."""
    manifest = Manifest(
        revision=revision,
        source=source,
        model=model,
        entry=entry,
        input_bindings=input_bindings,
        versions=_versions(),
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
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
