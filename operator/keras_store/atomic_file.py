"""Files that appear whole or not at all: written under a hidden name, hashed on the way, synced, then renamed."""

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

from keras_store.storage import CHUNK_BYTES

TEMP_PREFIX = ".draft-"


class AtomicFile:
    """A file being written. Disk work runs in threads, so a slow disk stops nothing else."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self.size = 0  # bytes so far
        self._file = file
        self._hash = hashlib.sha256()
        # A cancelled task leaves its thread at work: nothing may close the file under it.
        self._busy = threading.Lock()

    @property
    def sha256(self) -> str:
        """Hex sha256 of what was written so far."""
        return self._hash.hexdigest()

    async def write(self, chunk: bytes) -> None:
        """Append.

        Raises:
            OSError: such as ENOSPC.
        """
        await asyncio.to_thread(self._append, chunk)

    async def commit(self, target: Path) -> None:
        """Give the file its name, replacing what stands there; when this returns it survives a power cut."""
        await asyncio.to_thread(self._commit, target)

    def _append(self, chunk: bytes) -> None:
        with self._busy:
            rest = memoryview(chunk)
            try:
                while rest:  # unbuffered, so that a full disk is told here and not by close
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                error.filename = str(self.path.parent)  # writes do not name their file
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
        """Forget the file, unless it was committed."""
        with self._busy:
            self._file.close()
            self.path.unlink(missing_ok=True)


@asynccontextmanager
async def atomic_file(folder: Path) -> AsyncIterator[AtomicFile]:
    """A new draft in a folder on the target's file system; removed unless committed."""
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
    """Make a folder and its parents, and sync each new entry."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_chunks(path: Path) -> Iterator[bytes]:
    """A file's content in pieces."""
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
