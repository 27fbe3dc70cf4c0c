"""Files in a local folder: mounted volume claims, and a laptop's disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from errno import EACCES, EDQUOT, ELOOP, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path

from keras_store.atomic_file import atomic_file, file_chunks
from keras_store.errors import StorageError, StorageErrorKind
from keras_store.storage import Reading, Stat, Storage

_TROUBLES = {
    ENOENT: StorageErrorKind.MISSING,
    ENOTDIR: StorageErrorKind.MISSING,
    ELOOP: StorageErrorKind.MISSING,
    EACCES: StorageErrorKind.DENIED,
    EPERM: StorageErrorKind.DENIED,
    EROFS: StorageErrorKind.DENIED,
    ENOSPC: StorageErrorKind.FULL,
    EDQUOT: StorageErrorKind.FULL,
}


class FolderStorage(Storage):
    """The files of a folder; symbolic links that lead out of it are not followed.

    Args:
        root: the folder.
        name: what its addresses begin with, for people.
    """

    def __init__(self, root: Path, name: str | None = None) -> None:
        self._root = root
        self._name = name or f"file://{root}"

    def address(self, path: str) -> str:
        """The file's address."""
        return f"{self._name}/{path}"

    async def stat(self, path: str) -> Stat:
        """Size and time of the file."""
        return await asyncio.to_thread(self._stat, path)

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[Reading]:
        """The file's content, in pieces."""
        stat = await self.stat(path)
        yield Reading(stat=stat, chunks=self._chunks(path))

    async def write(self, path: str, file: Path, *, size: int, sha256: str, vouches_for: int = 0) -> None:
        """Copy the file here."""
        with self._translated(path):
            target = self._inside(path)
            async with atomic_file(self._root) as copy:
                for chunk in file_chunks(file):
                    await copy.write(chunk)
                if copy.sha256 != sha256:
                    raise StorageError(
                        StorageErrorKind.CHANGED, f"{file} changed while it was copied to {self.address(path)}"
                    )
                await copy.commit(target)

    def _stat(self, path: str) -> Stat:
        with self._translated(path):
            target = self._inside(path)
            found = target.stat()
            if not target.is_file():
                raise StorageError(StorageErrorKind.MISSING, f"{self.address(path)} is not a file")
            # Open it once: whether it can be read is worth knowing before the work begins.
            target.open("rb").close()
            return Stat(size=found.st_size, modified=datetime.fromtimestamp(found.st_mtime, UTC))

    async def _chunks(self, path: str) -> AsyncIterator[bytes]:
        with self._translated(path):
            chunks = file_chunks(self._inside(path))
            while chunk := await asyncio.to_thread(next, chunks, b""):
                yield chunk

    def _inside(self, path: str) -> Path:
        target = (self._root / path).resolve()
        if not target.is_relative_to(self._root.resolve()):
            raise StorageError(StorageErrorKind.DENIED, f"{self.address(path)} leads out of its folder")
        return target

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            trouble = _TROUBLES.get(error.errno or 0, StorageErrorKind.UNAVAILABLE)
            raise StorageError(trouble, f"{self.address(path)}: {error.strerror or error}") from error
