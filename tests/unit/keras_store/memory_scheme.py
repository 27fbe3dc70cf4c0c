"""``memory://region/path``: a scheme that exists only in the tests. All of it is in this module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from keras_api.pod_part import PodPart
from keras_api.resource import cel
from keras_store.errors import StorageError, StorageErrorKind
from keras_store.sources.base import Access, Address, Scheme, SourceFile
from keras_store.storage.base import Reading, Stat, Storage

FILES: dict[str, bytes] = {}
"""Content by address."""
PASSWORD = "MEMORY_PASSWORD"


class MemoryStorage(Storage):
    def __init__(self, region: str, password: str | None) -> None:
        self._region = region
        self._password = password

    def address(self, path: str) -> str:
        return f"memory://{self._region}/{path}"

    async def stat(self, path: str) -> Stat:
        if self._password != "secret":
            raise StorageError(StorageErrorKind.DENIED, f"{self.address(path)}: the password is wrong")
        content = FILES[self.address(path)]
        return Stat(size=len(content), etag=f"{len(content)}-{content[:1]!r}")

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[Reading]:
        async def chunks() -> AsyncIterator[bytes]:
            yield FILES[self.address(path)]

        yield Reading(stat=await self.stat(path), chunks=chunks())


def _open(address: Address, access: Access) -> SourceFile:
    return SourceFile(MemoryStorage(address.host, access.credentials.get(PASSWORD)), address.path)


def _pod_part(regions: Sequence[str]) -> PodPart:
    return PodPart(env=({"name": "REGIONS", "value": ",".join(regions)},))


MEMORY = Scheme(
    pattern="memory",
    forms=("memory://region/path",),
    rules=(cel("!self.startsWith('memory://far')", "must be near"),),
    option_rules=(cel("!has(self.memory)", "there are no options"),),
    credential_keys=(PASSWORD,),
    credentials_help=f"{PASSWORD} for memory",
    open=_open,
    pod_part=_pod_part,
)
