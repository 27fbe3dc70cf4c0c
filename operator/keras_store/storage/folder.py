"""Files in a local folder: mounted claims, and the disk of a laptop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from errno import EACCES, EDQUOT, ELOOP, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path

from keras_store.atomic_file import atomic_file, file_chunks
from keras_store.errors import StorageError, StorageErrorKind
from keras_store.storage.base import Reading, Stat, WritableStorage

_ERRORS = {
    ENOENT: StorageErrorKind.MISSING,
    ENOTDIR: StorageErrorKind.MISSING,
    ELOOP: StorageErrorKind.MISSING,
    EACCES: StorageErrorKind.DENIED,
    EPERM: StorageErrorKind.DENIED,
    EROFS: StorageErrorKind.DENIED,
    ENOSPC: StorageErrorKind.FULL,
    EDQUOT: StorageErrorKind.FULL,
}


class FolderStorage(WritableStorage):
    """The files of a folder. Symbolic links that lead out of the folder are not followed.

    Args:
        root: the folder.
        name: beginning of the addresses in messages.
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
        """The file's content, in chunks."""
        stat = await self.stat(path)
        yield Reading(stat=stat, chunks=self._chunks(path))

    async def write(self, path: str, file: Path, *, size: int, sha256: str) -> None:
        """Copy the file into the folder."""
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
            # Open the file once, so that an unreadable one is reported before the work begins.
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
            raise StorageError(StorageErrorKind.DENIED, f"{self.address(path)} leads out of the folder")
        return target

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = _ERRORS.get(error.errno or 0, StorageErrorKind.UNAVAILABLE)
            raise StorageError(kind, f"{self.address(path)}: {error.strerror or error}") from error
