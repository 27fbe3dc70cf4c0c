"""What every place for files can do, whatever its protocol: say what a file is, read it, write it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for a storage, in seconds. No limit on a whole download: models are as large as they are."""

    connect: float = 10.0
    silence: float = 60.0  # between two pieces of an answer
    slowest_bytes_per_second: float = 256 * 1024  # of an upload, which only its end answers

    def upload(self, size: int) -> float:
        """Seconds after which an upload of so many bytes has failed."""
        return self.connect + self.silence + size / self.slowest_bytes_per_second


@dataclass(frozen=True)
class Stat:
    """What a storage says of a file without sending it."""

    size: int | None  # bytes
    etag: str | None = None
    modified: datetime | None = None

    @property
    def fingerprint(self) -> str:
        """What changes when the content does, as far as the storage can tell: the ETag, else size and time."""
        if self.etag:
            return self.etag.removeprefix("W/").strip('"')
        size = "unknown" if self.size is None else str(self.size)
        modified = self.modified.astimezone(UTC).isoformat() if self.modified else "unknown"
        return f"size={size},modified={modified}"


@dataclass(frozen=True)
class Reading:
    """A file being read."""

    stat: Stat
    chunks: AsyncIterator[bytes]


class Storage(ABC):
    """Files by path under one address. An async context manager, for what holds connections.

    Every method raises `keras_store.errors.StorageError`, and nothing else, when the storage fails.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    @abstractmethod
    def address(self, path: str) -> str:
        """The file's address for people: no credentials in it."""

    @abstractmethod
    async def stat(self, path: str) -> Stat:
        """What the file is."""

    @abstractmethod
    def read(self, path: str) -> AbstractAsyncContextManager[Reading]:
        """The file's content, in pieces."""

    @abstractmethod
    async def write(self, path: str, file: Path, *, size: int, sha256: str) -> None:
        """Upload a file of known size (bytes) and sha256 (hex); it appears whole or not at all."""
