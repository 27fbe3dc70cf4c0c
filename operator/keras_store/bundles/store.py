"""The client of the artifact store: puts and gets bundles.

The manifest of a bundle is written last, so that clients see a complete bundle or none.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, Self

from keras_api.manifest import (
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    ManifestError,
    UnknownVersionError,
    decode_manifest,
)
from keras_api.reasons import Reason
from keras_store.atomic_file import TEMP_PREFIX, atomic_file, file_sha256
from keras_store.bundles.folder import MAX_MANIFEST_BYTES, read_bundle
from keras_store.errors import PREPARED_AGAIN, StepError, StorageError, StorageErrorKind, store_failure
from keras_store.retry import ATTEMPTS, retrying
from keras_store.storage.base import WritableStorage

log = logging.getLogger(__name__)

_CONCURRENT_TRANSFERS = 4


class _DamagedError(StepError):
    """The manifest is not valid."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.BUNDLE_INVALID, message)


class BundleStore:
    """The artifact store. An async context manager.

    Paths are ``<namespace>/<model>/<revision>``. Every method raises `StepError`: StoreUnavailable or BundleInvalid.
    """

    def __init__(self, storage: WritableStorage) -> None:
        self._storage = storage

    async def __aenter__(self) -> Self:
        await self._storage.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._storage.__aexit__(*error)

    async def manifest(self, path: str, *, attempts: int = ATTEMPTS) -> Manifest | None:
        """The bundle's manifest; None when there is no such bundle."""
        try:
            data = await retrying(lambda: self._read_manifest(path), attempts=attempts)
        except StorageError as error:
            if error.kind is StorageErrorKind.MISSING:
                return None
            raise store_failure(error) from error
        return self._decoded(data, path)

    async def verified_manifest(self, path: str) -> Manifest | None:
        """The bundle's manifest, after all files have been read and compared with it.

        Returns:
            None when there is no such bundle, or when it is damaged and must be written again.
        """
        try:
            manifest = await self.manifest(path)
            if manifest is not None:
                await _gather(self._verify(f"{path}/{record.path}", record) for record in manifest.files)
        except _DamagedError as error:
            damage = str(error)
        except StorageError as error:
            if error.kind not in (StorageErrorKind.MISSING, StorageErrorKind.CHANGED):
                raise store_failure(error) from error
            damage = error.message
        else:
            return manifest
        log.warning("%s in the store is damaged: %s", path, damage)
        return None

    async def put(self, path: str, folder: Path) -> bool:
        """Upload a bundle from a folder. A bundle that is in the store is kept, unless it is damaged.

        Returns:
            Whether it was uploaded; False when the store has the bundle already, for example from another run.
        """
        try:
            manifest = await asyncio.to_thread(read_bundle, folder)
        except ManifestError as error:
            raise StepError(Reason.PREPARE_FAILED, f"the bundle of the prepare step is invalid: {error}") from error
        if await self.verified_manifest(path) is not None:
            return False
        try:
            await _gather(self._upload(path, folder, record) for record in manifest.files)
            await self._upload(path, folder, await asyncio.to_thread(_record, folder, MANIFEST_NAME))
        except StorageError as error:
            # Another run with the same inputs may have been faster: its bundle is as good.
            if error.kind is StorageErrorKind.CONFLICT and await self.verified_manifest(path) is not None:
                return False
            raise store_failure(error) from error
        return True

    async def get(self, path: str, folder: Path) -> Manifest:
        """Download a bundle into a folder and check every file. The manifest is written last.

        Complete files of an earlier attempt are kept. A folder with other files is an error.
        """
        try:
            data = await retrying(lambda: self._read_manifest(path))
            manifest = self._decoded(data, path)
            _check_folder(folder, manifest)
            await _gather(self._download(path, folder, record) for record in manifest.files)
        except StorageError as error:
            if error.kind is StorageErrorKind.MISSING:
                message = f"{error.message}: the bundle is incomplete or was deleted: {PREPARED_AGAIN}"
                raise StepError(Reason.BUNDLE_INVALID, message) from error
            raise store_failure(error) from error
        async with atomic_file(folder) as file:
            await file.write(data)
            await file.commit(folder / MANIFEST_NAME)
        return manifest

    async def _read_manifest(self, path: str) -> bytes:
        data = bytearray()
        async with self._storage.read(f"{path}/{MANIFEST_NAME}") as reading:
            async for chunk in reading.chunks:
                data += chunk
                if len(data) > MAX_MANIFEST_BYTES:
                    address = self._storage.address(f"{path}/{MANIFEST_NAME}")
                    raise _DamagedError(f"{address} is too large for a manifest: {PREPARED_AGAIN}")
        return bytes(data)

    def _decoded(self, data: bytes, path: str) -> Manifest:
        address = self._storage.address(path)
        try:
            manifest = decode_manifest(data)
        except UnknownVersionError as error:
            remedy = "or delete the bundle in the store, then its prepare Job"
            raise StepError(Reason.BUNDLE_INVALID, f"{address}: {error}, {remedy}") from error
        except ManifestError as error:
            raise _DamagedError(f"{address}: {error}: {PREPARED_AGAIN}") from error
        if manifest.revision != path.rpartition("/")[2]:
            wrong = f"its {MANIFEST_NAME} is for revision {manifest.revision}"
            raise _DamagedError(f"{address}: {wrong}: {PREPARED_AGAIN}")
        return manifest

    async def _verify(self, path: str, record: FileRecord) -> None:
        async def read_and_compare() -> None:
            size, digest = 0, hashlib.sha256()
            async with self._storage.read(path) as reading:
                async for chunk in reading.chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    if size > record.size_bytes:
                        break
            self._compare(path, record, size, digest.hexdigest())

        await retrying(read_and_compare)

    def _compare(self, path: str, record: FileRecord, size: int, sha256: str) -> None:
        if (size, sha256) != (record.size_bytes, record.sha256):
            raise StorageError(
                StorageErrorKind.CHANGED,
                f"{self._storage.address(path)} is not the file in the bundle's manifest "
                f"(expected {record.size_bytes} bytes with sha256 {record.sha256}; found {size} with {sha256})",
            )

    async def _upload(self, path: str, folder: Path, record: FileRecord) -> None:
        file = folder / record.path
        await retrying(
            lambda: self._storage.write(f"{path}/{record.path}", file, size=record.size_bytes, sha256=record.sha256)
        )

    async def _download(self, path: str, folder: Path, record: FileRecord) -> None:
        target = folder / record.path
        if target.is_file() and await asyncio.to_thread(file_sha256, target) == record.sha256:
            return
        await retrying(lambda: self._attempt(f"{path}/{record.path}", target, record))

    async def _attempt(self, path: str, target: Path, record: FileRecord) -> None:
        async with self._storage.read(path) as reading, atomic_file(target.parent) as file:
            async for chunk in reading.chunks:
                await file.write(chunk)
                if file.size > record.size_bytes:
                    break
            self._compare(path, record, file.size, file.sha256)
            await file.commit(target)


def _record(folder: Path, path: str) -> FileRecord:
    file = folder / path
    return FileRecord(path=path, sha256=file_sha256(file), size_bytes=file.stat().st_size)


def _check_folder(folder: Path, manifest: Manifest) -> None:
    """Delete temporary files in a target folder, and reject all others that are not the bundle's."""
    expected = {MANIFEST_NAME, *(record.path for record in manifest.files)}
    for file in folder.rglob("*"):
        if file.name.startswith(TEMP_PREFIX):
            file.unlink()  # of a process that was killed
        elif not file.is_dir() and file.relative_to(folder).as_posix() not in expected:
            raise StepError(Reason.BUNDLE_INVALID, f"{file} does not belong to the bundle: give `get` an empty folder")


async def _gather(transfers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run transfers, a few of them concurrently; the first error cancels the others."""
    slots = asyncio.Semaphore(_CONCURRENT_TRANSFERS)

    async def run(transfer: Coroutine[Any, Any, None]) -> None:
        async with slots:
            await transfer

    try:
        async with asyncio.TaskGroup() as group:
            for transfer in transfers:
                group.create_task(run(transfer))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
