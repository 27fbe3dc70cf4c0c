"""The interface of all storages: get a file's metadata, read the file, write the file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Timeouts:
    """Timeouts of a storage, in seconds. A whole transfer has none, because models may have any size."""

    connect: float = 10.0
    idle: float = 60.0  # without a byte in either direction


@dataclass(frozen=True)
class Stat:
    """Metadata of a file."""

    size: int | None  # bytes
    etag: str | None = None
    modified: datetime | None = None

    @property
    def fingerprint(self) -> str:
        """The version of the file: its ETag, or its size and time. It changes when the content changes, as far as
        the storage can tell."""
        if self.etag:
            return self.etag.removeprefix("W/").strip('"')
        size = "unknown" if self.size is None else str(self.size)
        modified = self.modified.astimezone(UTC).isoformat() if self.modified else "unknown"
        return f"size={size},modified={modified}"


@dataclass(frozen=True)
class Reading:
    """A file that is being read."""

    stat: Stat
    chunks: AsyncIterator[bytes]


class Storage(ABC):
    """Files by path under one address. An async context manager, because it may hold connections.

    Every method raises `keras_store.errors.StorageError`, and no other exception, when the storage fails.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    @abstractmethod
    def address(self, path: str) -> str:
        """The file's address for messages, without credentials."""

    @abstractmethod
    async def stat(self, path: str) -> Stat:
        """The file's metadata."""

    @abstractmethod
    def read(self, path: str) -> AbstractAsyncContextManager[Reading]:
        """The file's content, in chunks."""


class WritableStorage(Storage):
    """A storage that also takes files."""

    @abstractmethod
    async def write(self, path: str, file: Path, *, size: int, sha256: str) -> None:
        """Upload a file. Readers see all of it or nothing.

        Args:
            path: of the new file in the storage.
            file: its content on the local disk.
            size: bytes.
            sha256: in hex.
        """
