"""Atomic file writes: a file is written under a temporary name, hashed, synced and then renamed."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path

CHUNK_BYTES = 1 << 20
"""Size of the chunks in which files are read and sent."""
TEMP_PREFIX = ".tmp-"
"""Prefix of the name of a file that is not complete."""


class AtomicFile:
    """A file that is being written. Disk I/O runs in threads, so that a slow disk does not block the event loop."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self.size = 0  # bytes written
        self._file = file
        self._hash = hashlib.sha256()
        # The thread of a cancelled task continues: the file must not be closed under it.
        self._busy = threading.Lock()

    @property
    def sha256(self) -> str:
        """Hex sha256 of the content so far."""
        return self._hash.hexdigest()

    async def write(self, chunk: bytes) -> None:
        """Append.

        Raises:
            OSError: such as ENOSPC.
        """
        await asyncio.to_thread(self._append, chunk)

    async def commit(self, target: Path) -> None:
        """Rename the file, replacing an existing one. After this the file survives a power failure."""
        await asyncio.to_thread(self._commit, target)

    def _append(self, chunk: bytes) -> None:
        with self._busy:
            rest = memoryview(chunk)
            try:
                while rest:  # unbuffered, so that a full disk fails here and not in close
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                error.filename = str(self.path.parent)  # an error of write does not name the file
                raise
            self._hash.update(chunk)
            self.size += len(chunk)

    def _commit(self, target: Path) -> None:
        with self._busy:
            os.fsync(self._file.fileno())
            make_folder(target.parent)
            self.path.replace(target)
            sync_folder(target.parent)

    def close(self) -> None:
        """Close the file, and delete it unless it was committed."""
        with self._busy:
            self._file.close()
            self.path.unlink(missing_ok=True)


@asynccontextmanager
async def atomic_file(folder: Path) -> AsyncIterator[AtomicFile]:
    """A new temporary file in a folder on the target's file system; deleted unless it is committed."""
    path = folder / f"{TEMP_PREFIX}{uuid.uuid4().hex}"
    made = AtomicFile(path, _create(path))
    try:
        yield made
    finally:
        made.close()


def _create(path: Path) -> FileIO:
    make_folder(path.parent)
    return path.open("xb", buffering=0)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, and sync each new entry."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_chunks(path: Path) -> Iterator[bytes]:
    """The content of a file, in chunks."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_full(error: OSError) -> bool:
    """Whether a disk error means that no space is left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
