"""Bundles in a folder of the local disk: reads the manifest and checks the files against it."""

from __future__ import annotations

from pathlib import Path

from keras_api.manifest import MANIFEST_NAME, Manifest, ManifestError, decode_manifest
from keras_store.atomic_file import file_sha256

MAX_MANIFEST_BYTES = 4 << 20


def read_bundle(folder: Path) -> Manifest:
    """The manifest of a bundle folder, after a check of every file.

    Raises:
        ManifestError: when the files differ from the manifest.
    """
    try:
        manifest = decode_manifest((folder / MANIFEST_NAME).read_bytes())
    except OSError as error:
        raise ManifestError(f"{folder / MANIFEST_NAME}: {error.strerror}") from error
    check_files(folder, manifest)
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check that a folder has all files of a manifest, unchanged.

    Raises:
        ManifestError: naming the first file that is absent or differs.
    """
    for record in manifest.files:
        file = folder / record.path
        if not file.is_file():
            raise ManifestError(f"{MANIFEST_NAME} names {record.path!r}, which does not exist")
        size, sha256 = file.stat().st_size, file_sha256(file)
        if (size, sha256) != (record.size_bytes, record.sha256):
            raise ManifestError(
                f"{record.path!r} is not the file in {MANIFEST_NAME} (expected {record.size_bytes} bytes with "
                f"sha256 {record.sha256}; found {size} with {sha256})"
            )
