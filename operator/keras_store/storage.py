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
    """How long to wait for a storage, in seconds.

    There is no limit on a whole transfer, since models are as large as they are: what moves is not cut off.
    """

    connect: float = 10.0
    silence: float = 60.0  # without a byte in either direction
    slowest_disk: float = 32 << 20  # bytes per second

    def answer(self, size: int) -> float:
        """Seconds until an upload must be answered, where the storage first syncs or reads so many bytes."""
        return self.silence + size / self.slowest_disk


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
    async def write(self, path: str, file: Path, *, size: int, sha256: str, vouches_for: int = 0) -> None:
        """Upload a file, which appears whole or not at all.

        Args:
            path: where to.
            file: its content.
            size: bytes.
            sha256: in hex.
            vouches_for: bytes of other files that the storage may read again before it answers.
        """
