"""The disk of the embedded store: bundles in one folder. A bundle is immutable once its manifest is stored.

Before that, its files may be replaced: a killed run leaves files, and those of the next run may differ. The store takes
a manifest only when all files in it are there and unchanged. A disk may still lose or alter files of an immutable
bundle; a bundle that is damaged in this way may be written again.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import re
import shutil
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from keras_api.manifest import MANIFEST_NAME, Manifest, ManifestError, UnknownVersionError, decode_manifest
from keras_store.atomic_file import AtomicFile, atomic_file, file_sha256, make_folder
from keras_store.bundles.folder import MAX_MANIFEST_BYTES, check_files

log = logging.getLogger(__name__)

_INCOMING = ".incoming"
_MAX_PATH_BYTES = 1024
_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]{1,255}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class BundleDiskError(Exception):
    """The disk cannot be used, or rejects a file; the text has the cause."""


class BadPathError(BundleDiskError):
    """The path is not that of a bundle's file."""


class ImmutableBundleError(BundleDiskError):
    """The bundle has its manifest, and the file differs from its content."""


class IncompleteError(BundleDiskError):
    """The bundle does not have all files of the manifest."""


@dataclass(frozen=True)
class FilePath:
    """Path of a file on the disk: ``<namespace>/<model>/<revision>/<file>``."""

    namespace: str
    bundle: str  # namespace/model/revision
    file: str

    @property
    def revision(self) -> str:
        """The last part of the bundle's path."""
        return self.bundle.rpartition("/")[2]

    @classmethod
    def parse(cls, text: str) -> FilePath:
        """Parse a path.

        Raises:
            BadPathError: when it is not the path of a bundle's file, or could leave the folder.
        """
        segments = text.split("/")
        if (
            len(segments) < 4
            or len(text.encode()) > _MAX_PATH_BYTES
            or not _NAMESPACE.fullmatch(segments[0])
            or not all(_SEGMENT.fullmatch(segment) for segment in segments)
        ):
            raise BadPathError(f"{text!r} is not a path <namespace>/<model>/<revision>/<file>")
        return cls(namespace=segments[0], bundle="/".join(segments[:3]), file="/".join(segments[3:]))


class BundleDisk:
    """Bundles in a folder that no other process uses.

    Args:
        root: the folder; it is created when it is absent.

    Raises:
        BundleDiskError: when another process uses the folder.
        OSError: when the folder cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        make_folder(root)
        self._lock = (root / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise BundleDiskError(f"another store uses {root}: stop it first") from error
        shutil.rmtree(root / _INCOMING, ignore_errors=True)  # of a process that was killed
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def close(self) -> None:
        """Release the folder for another process."""
        self._lock.close()

    def locate(self, path: FilePath) -> Path:
        """Path of the file on the disk, whether it exists or not."""
        return self.root / path.bundle / path.file

    def free_bytes(self) -> int:
        """Free space of the disk."""
        return shutil.disk_usage(self.root).free

    def incoming(self) -> AbstractAsyncContextManager[AtomicFile]:
        """A new temporary file for `add`."""
        return atomic_file(self.root / _INCOMING)

    async def add(self, path: FilePath, file: AtomicFile) -> bool:
        """Move a temporary file to its path.

        Returns:
            Whether it was stored; False when the same content is there already.

        Raises:
            BadPathError: a folder has this path, or a file has the path of a folder in it.
            ImmutableBundleError: the bundle is immutable, and its content differs.
            IncompleteError: the file is a manifest, and the bundle differs from it.
            OSError: from the disk.
        """
        lock = self._writing.setdefault(path.bundle, asyncio.Lock())
        async with lock:
            if await asyncio.to_thread(self._manifest(path).exists):
                if await asyncio.to_thread(_same, self.locate(path), file):
                    return False
                damage = await asyncio.to_thread(self._damage, path)
                if damage is None:
                    raise ImmutableBundleError(f"the bundle {path.bundle} is immutable, and its {path.file} differs")
                log.warning("%s is damaged and is written again: %s", path.bundle, damage)
                self._manifest(path).unlink()
            if path.file == MANIFEST_NAME:
                await asyncio.to_thread(self._check_complete, path, file)
            try:
                await file.commit(self.locate(path))
            except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
                raise BadPathError(
                    f"{path.bundle}/{path.file}: a file and a folder must not have the same name"
                ) from error
            return True

    def _manifest(self, path: FilePath) -> Path:
        return self.root / path.bundle / MANIFEST_NAME

    def _damage(self, path: FilePath) -> str | None:
        """How a bundle differs from its manifest; None when it does not, or when this release cannot read it."""
        try:
            self._read(path, self._manifest(path))
        except UnknownVersionError:
            return None
        except ManifestError as error:
            return str(error)
        return None

    def _read(self, path: FilePath, file: Path) -> Manifest:
        """The manifest in a file, after a check of the bundle's files."""
        size = file.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            raise ManifestError(f"{size} bytes are too many for a manifest")
        manifest = decode_manifest(file.read_bytes())
        if manifest.revision != path.revision:
            raise ManifestError(f"the manifest is for revision {manifest.revision}")
        check_files(self.root / path.bundle, manifest)
        return manifest

    def _check_complete(self, path: FilePath, file: AtomicFile) -> None:
        folder = self.root / path.bundle
        try:
            manifest = self._read(path, file.path)
        except ManifestError as error:
            raise IncompleteError(f"{path.bundle}: {error}") from error
        named = {record.path for record in manifest.files}
        for found in folder.rglob("*"):
            if not found.is_dir() and found.relative_to(folder).as_posix() not in named:
                found.unlink()  # of an earlier run that did not finish


def _same(path: Path, file: AtomicFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and file_sha256(path) == file.sha256
