"""Bundles in a store: a folder of files with a manifest that is written last, so a bundle is whole or absent."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Coroutine, Iterable, Mapping
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
from keras_store.credentials import s3_keys
from keras_store.errors import PREPARED_AGAIN, StepError, StorageError, StorageErrorKind, store_failure
from keras_store.folder_storage import FolderStorage
from keras_store.http_storage import HttpStorage
from keras_store.retry import ATTEMPTS, retrying
from keras_store.storage import Storage, Timeouts

log = logging.getLogger(__name__)

TOKEN_FILE_VARIABLE = "KERAS_STORE_TOKEN_FILE"  # noqa: S105 - the name of a variable
STORE_PREFIX = "STORE_"

MAX_MANIFEST_BYTES = 4 << 20
_TRANSFERS_AT_ONCE = 4
# After twice this (see `keras_store.retry`) a step ends, and status says why. After once this a server's log says it,
# before the operator asks for that (`UNREADY_SECONDS`).
STORE_TIMEOUTS = Timeouts(silence=25.0)


class _DamagedError(StepError):
    """What stands in the place of a manifest is none."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.BUNDLE_INVALID, message)


class BundleStore:
    """A store of bundles, as its clients see it. An async context manager.

    Paths are ``<namespace>/<model>/<revision>``. Every method raises `StepError`: StoreUnavailable or BundleInvalid.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def __aenter__(self) -> Self:
        await self._storage.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._storage.__aexit__(*error)

    async def manifest(self, path: str, *, attempts: int = ATTEMPTS) -> Manifest | None:
        """The bundle's manifest, None when there is no such bundle."""
        try:
            data = await retrying(lambda: self._read_manifest(path), attempts=attempts)
        except StorageError as error:
            if error.kind is StorageErrorKind.MISSING:
                return None
            raise store_failure(error) from error
        return self._decoded(data, path)

    async def whole(self, path: str) -> Manifest | None:
        """The manifest of a bundle whose every file was read and is as it says.

        Returns:
            None when there is no such bundle, or when what is there is damaged and can only be written anew.
        """
        try:
            manifest = await self.manifest(path)
            if manifest is not None:
                await _gather(self._check(path, record) for record in manifest.files)
        except _DamagedError as error:
            damage = str(error)
        except StorageError as error:
            if error.kind not in (StorageErrorKind.MISSING, StorageErrorKind.CHANGED):
                raise store_failure(error) from error
            damage = error.message
        else:
            return manifest
        log.warning("%s is in the store, but damaged: %s", path, damage)
        return None

    async def put(self, path: str, folder: Path) -> bool:
        """Upload a bundle from a folder, manifest last; one that is there already stays, unless it is damaged.

        Returns:
            Whether it was uploaded: False when the store has the bundle already, perhaps from another run.
        """
        try:
            manifest = await asyncio.to_thread(read_bundle, folder)
        except ManifestError as error:
            raise StepError(Reason.PREPARE_FAILED, f"the prepare step left a broken bundle: {error}") from error
        if await self.whole(path) is not None:
            return False
        try:
            await _gather(self._upload(path, folder, record) for record in manifest.files)
            seal = folder / MANIFEST_NAME
            size, sha256 = await asyncio.to_thread(lambda: (seal.stat().st_size, file_sha256(seal)))
            await retrying(
                lambda: self._storage.write(
                    f"{path}/{MANIFEST_NAME}",
                    seal,
                    size=size,
                    sha256=sha256,
                    vouches_for=sum(record.size_bytes for record in manifest.files),
                )
            )
        except StorageError as error:
            # Another run of the same inputs may have been quicker: its bundle serves as well as ours.
            if error.kind is StorageErrorKind.CONFLICT and await self.whole(path) is not None:
                return False
            raise store_failure(error) from error
        return True

    async def get(self, path: str, folder: Path) -> Manifest:
        """Download a bundle into a folder, checking every file; the manifest appears last.

        Whole files of an earlier attempt are kept; a folder that holds anything else is refused.
        """
        try:
            data = await retrying(lambda: self._read_manifest(path))
            manifest = self._decoded(data, path)
            _refuse_foreign(folder, manifest)
            await _gather(self._download(path, folder, record) for record in manifest.files)
        except StorageError as error:
            if error.kind is StorageErrorKind.MISSING:
                message = f"{error.message}: the bundle is not whole or was deleted: {PREPARED_AGAIN}"
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
                    raise _DamagedError(f"{address} is larger than a manifest can be: {PREPARED_AGAIN}")
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
            wrong = f"its {MANIFEST_NAME} is of revision {manifest.revision}"
            raise _DamagedError(f"{address}: {wrong}: {PREPARED_AGAIN}")
        return manifest

    async def _check(self, path: str, record: FileRecord) -> None:
        await retrying(lambda: self._read_and_compare(f"{path}/{record.path}", record))

    async def _read_and_compare(self, path: str, record: FileRecord) -> None:
        size, digest = 0, hashlib.sha256()
        async with self._storage.read(path) as reading:
            async for chunk in reading.chunks:
                digest.update(chunk)
                size += len(chunk)
                if size > record.size_bytes:
                    break
        self._compare(path, record, size, digest.hexdigest())

    def _compare(self, path: str, record: FileRecord, size: int, sha256: str) -> None:
        if (size, sha256) != (record.size_bytes, record.sha256):
            raise StorageError(
                StorageErrorKind.CHANGED,
                f"{self._storage.address(path)} is not the file that the bundle's manifest names "
                f"(want {record.size_bytes} bytes with sha256 {record.sha256}; got {size} with {sha256})",
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


def bundle_store(url: str, environ: Mapping[str, str] = os.environ) -> BundleStore:
    """The store at a URL.

    Args:
        url: http(s)://host of the embedded store, s3://bucket/prefix, or file:///folder.
        environ: has the embedded store's token file under KERAS_STORE_TOKEN_FILE, and an external store's credentials
            and options under STORE_AWS_...; the prefix keeps them apart from a source's.

    Raises:
        StepError: when the URL is of no known kind.
    """
    scheme, _, rest = url.partition("://")
    match scheme:
        case "http" | "https" if rest:
            token_file = environ.get(TOKEN_FILE_VARIABLE)
            return BundleStore(HttpStorage(url, headers=lambda: _bearer(token_file), timeouts=STORE_TIMEOUTS))
        case "s3" if rest:
            # Only here: a server starts in less time, and less memory, without obstore.
            from keras_store.s3_storage import S3Storage

            bucket, _, prefix = rest.partition("/")
            storage = S3Storage(
                bucket,
                prefix=prefix.strip("/"),
                endpoint=environ.get(f"{STORE_PREFIX}AWS_ENDPOINT_URL") or None,
                region=environ.get(f"{STORE_PREFIX}AWS_REGION") or "us-east-1",
                keys=s3_keys(environ, STORE_PREFIX),
                timeouts=STORE_TIMEOUTS,
            )
            return BundleStore(storage)
        case "file" if rest.startswith("/"):
            return BundleStore(FolderStorage(Path(rest)))
    raise StepError(
        Reason.STORE_UNAVAILABLE,
        f"{url!r} is no address of a store: want http(s)://host, s3://bucket/prefix or file:///folder",
    )


def read_bundle(folder: Path) -> Manifest:
    """The manifest of a bundle folder, after every file was checked against it.

    Raises:
        ManifestError: when the folder is not exactly what its manifest says.
    """
    try:
        manifest = decode_manifest((folder / MANIFEST_NAME).read_bytes())
    except OSError as error:
        raise ManifestError(f"{folder / MANIFEST_NAME}: {error.strerror}") from error
    check_files(folder, manifest)
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check that a folder holds the files of a manifest, whole.

    Raises:
        ManifestError: naming the first file that is absent or differs.
    """
    for record in manifest.files:
        file = folder / record.path
        if not file.is_file():
            raise ManifestError(f"{MANIFEST_NAME} names {record.path!r}, which is not there")
        size, sha256 = file.stat().st_size, file_sha256(file)
        if (size, sha256) != (record.size_bytes, record.sha256):
            raise ManifestError(
                f"{record.path!r} is not the file that {MANIFEST_NAME} names (want {record.size_bytes} bytes with "
                f"sha256 {record.sha256}; got {size} with {sha256})"
            )


def _bearer(token_file: str | None) -> dict[str, str]:
    if token_file is None:
        return {}
    try:
        # Read for every request: the kubelet replaces it long before it expires.
        return {"Authorization": f"Bearer {Path(token_file).read_text().strip()}"}
    except OSError as error:
        raise StorageError(StorageErrorKind.DENIED, f"the store's token {token_file}: {error.strerror}") from error


def _refuse_foreign(folder: Path, manifest: Manifest) -> None:
    expected = {MANIFEST_NAME, *(record.path for record in manifest.files)}
    for file in folder.rglob("*"):
        if file.name.startswith(TEMP_PREFIX):
            file.unlink()  # of a run that was killed
        elif not file.is_dir() and file.relative_to(folder).as_posix() not in expected:
            raise StepError(Reason.BUNDLE_INVALID, f"{file} does not belong to the bundle: give `get` an empty folder")


async def _gather(transfers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run transfers, a few at a time; the first failure ends the others."""
    slots = asyncio.Semaphore(_TRANSFERS_AT_ONCE)

    async def run(transfer: Coroutine[Any, Any, None]) -> None:
        async with slots:
            await transfer

    try:
        async with asyncio.TaskGroup() as group:
            for transfer in transfers:
                group.create_task(run(transfer))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
