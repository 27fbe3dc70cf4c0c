"""The embedded store's disk: bundles under one folder, each sealed by its manifest.

Until its manifest comes, a bundle's files may be written again (a run that was killed leaves some, and the next run's
may differ by a byte). The manifest is taken only when every file that it names is there, whole; from then on nothing
in the bundle changes. A disk may lose or alter files all the same: a broken seal counts for nothing, so that the bundle
can be written anew.
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
from keras_store.bundle_store import MAX_MANIFEST_BYTES, check_files

log = logging.getLogger(__name__)

_INCOMING = ".incoming"
_MAX_PATH_BYTES = 1024
_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]{1,255}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class BundleDiskError(Exception):
    """The archive does not take or have this; the text says why."""


class BadPathError(BundleDiskError):
    """Not the path of a bundle's file."""


class ImmutableBundleError(BundleDiskError):
    """The bundle is complete, and this is not its content."""


class IncompleteError(BundleDiskError):
    """A manifest whose files are not there."""


@dataclass(frozen=True)
class FilePath:
    """Place of a file in the archive: ``<namespace>/<model>/<revision>/<file>``."""

    namespace: str
    bundle: str  # namespace/model/revision
    file: str

    @property
    def revision(self) -> str:
        """The last part of the bundle's path."""
        return self.bundle.rpartition("/")[2]

    @classmethod
    def parse(cls, text: str) -> FilePath:
        """Read a path.

        Raises:
            BadPathError: when it is not the path of a bundle's file, or would lead elsewhere.
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
    """Bundles on a disk that this process has to itself.

    Args:
        root: folder; made when absent.

    Raises:
        BundleDiskError: when another process has the folder.
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
            raise BundleDiskError(f"another store runs on {root}: stop it first") from error
        shutil.rmtree(root / _INCOMING, ignore_errors=True)  # of a run that was killed
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def locate(self, path: FilePath) -> Path:
        """The file on the disk, there or not."""
        return self.root / path.bundle / path.file

    def free_bytes(self) -> int:
        """Space left on the disk."""
        return shutil.disk_usage(self.root).free

    def incoming(self) -> AbstractAsyncContextManager[AtomicFile]:
        """A draft for `add`."""
        return atomic_file(self.root / _INCOMING)

    async def add(self, path: FilePath, file: AtomicFile) -> bool:
        """Give a draft its place.

        Returns:
            Whether it was taken; False when the very same file is there already.

        Raises:
            ImmutableBundleError: the bundle is complete and has another file there, or none.
            IncompleteError: the file is a manifest, and the bundle is not as it says.
            OSError: the disk.
        """
        lock = self._writing.setdefault(path.bundle, asyncio.Lock())
        async with lock:
            if await asyncio.to_thread(self._sealed, path):
                if await asyncio.to_thread(_same, self.locate(path), file):
                    return False
                damage = await asyncio.to_thread(self._damage, path)
                if damage is None:
                    raise ImmutableBundleError(
                        f"the bundle {path.bundle} is complete and does not change: {path.file} differs"
                    )
                log.warning("%s is written anew, since it is damaged: %s", path.bundle, damage)
                self._seal(path).unlink()
            if path.file == MANIFEST_NAME:
                await asyncio.to_thread(self._check_complete, path, file)
            try:
                await file.commit(self.locate(path))
            except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
                raise BadPathError(f"{path.bundle}/{path.file}: a file and a folder cannot have one name") from error
            return True

    def _seal(self, path: FilePath) -> Path:
        return self.root / path.bundle / MANIFEST_NAME

    def _sealed(self, path: FilePath) -> bool:
        return self._seal(path).exists()

    def _damage(self, path: FilePath) -> str | None:
        """What is wrong with a sealed bundle; None when nothing is, as far as this release can tell."""
        try:
            self._read(path, self._seal(path))
        except UnknownVersionError:
            return None
        except ManifestError as error:
            return str(error)
        return None

    def _read(self, path: FilePath, seal: Path) -> Manifest:
        """A manifest, after every file was checked against it."""
        size = seal.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            raise ManifestError(f"{size} bytes are too many for a manifest")
        manifest = decode_manifest(seal.read_bytes())
        if manifest.revision != path.revision:
            raise ManifestError(f"the manifest is of revision {manifest.revision}")
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
                found.unlink()  # of an earlier run that did not come this far


def _same(path: Path, file: AtomicFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and file_sha256(path) == file.sha256
