"""The fetch step: downloads the model file and the validation rows into the work folder of the prepare Job."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from keras_api.manifest import MANIFEST_NAME, SourceRecord, encode_manifest
from keras_api.prepare_request import PrepareRequest
from keras_api.reasons import Reason
from keras_api.work_folder import WorkFolder
from keras_store.atomic_file import atomic_file
from keras_store.bundles.store import BundleStore
from keras_store.errors import StepError, StorageError, StorageErrorKind, source_failure
from keras_store.redaction import public_url
from keras_store.retry import retrying
from keras_store.sources.base import VOLUMES, SourceFile
from keras_store.sources.registry import fixed_fingerprint, open_source, suffix

log = logging.getLogger(__name__)

# The prepare step reads all rows into memory. Hundreds of thousands of rows fit, and more do not improve the metrics.
MAX_VALIDATION_BYTES = 256 << 20


@dataclass(frozen=True)
class Fetched:
    """A downloaded file."""

    digest: str  # sha256:<hex>
    size: int  # bytes


@dataclass(frozen=True)
class Expected:
    """What a file must be; None: not known."""

    max_bytes: int
    fingerprint: str | None = None
    digest: str | None = None  # sha256:<hex>


async def fetch(
    request: PrepareRequest,
    store: BundleStore,
    work: WorkFolder,
    credentials: Mapping[str, str],
    *,
    max_bytes: int,
    volumes: Path = VOLUMES,
) -> int | None:
    """Write the inputs of the prepare step into the work folder, or the manifest of a bundle that exists already.

    Args:
        request: names the model file and the rows.
        store: may have the bundle already; the same inputs are not prepared twice.
        work: folder that gets the source, or the manifest of the bundle.
        credentials: of the source, by their environment names.
        max_bytes: largest model file.
        volumes: folder under which claims are mounted by name.

    Returns:
        Size of the model file in bytes; None when the bundle exists already.

    Raises:
        StepError: naming culprit and remedy.
    """
    manifest = await store.verified_manifest(request.bundle_path)
    if manifest is not None:
        log.info("%s is in the store already", request.bundle_path)
        await _write(work.bundle / MANIFEST_NAME, encode_manifest(manifest))
        return None
    if request.validation is not None:
        rows = open_source(request.validation.data, request.s3, credentials, volumes=volumes)
        await _fetch_rows(rows, work.validation)
    model = open_source(request.uri, request.s3, credentials, volumes=volumes)
    fetched = await _fetch_model(request, model, work.model(suffix(request.uri)), max_bytes)
    record = SourceRecord(
        uri=public_url(request.uri),
        fingerprint=request.fingerprint,
        digest=fetched.digest,
        size_bytes=fetched.size,
    )
    await _write(work.record, msgspec.json.encode(record))
    return fetched.size


async def _fetch_rows(rows: SourceFile, target: Path) -> None:
    try:
        await _download(rows, target, Expected(MAX_VALIDATION_BYTES))
    except StorageError as error:
        failure = source_failure(error)
        reason, message = failure.reason, failure.message
        if error.kind is StorageErrorKind.TOO_LARGE:
            reason, message = Reason.VALIDATION_DATA_INVALID, f"{error.message}: give fewer rows"
        raise StepError(reason, f"spec.validation.data: {message}") from error


async def _fetch_model(request: PrepareRequest, model: SourceFile, target: Path, max_bytes: int) -> Fetched:
    # A digest identifies the content, so the fingerprint may differ; a fixed fingerprint identifies nothing.
    pinned = request.digest is not None or fixed_fingerprint(request.uri) is not None
    expected = Expected(max_bytes, None if pinned else request.fingerprint, request.digest)
    try:
        return await _download(model, target, expected)
    except StorageError as error:
        raise source_failure(error) from error


async def _download(source: SourceFile, target: Path, expected: Expected) -> Fetched:
    async with source.storage:
        return await retrying(lambda: _attempt(source, target, expected))


async def _attempt(source: SourceFile, target: Path, expected: Expected) -> Fetched:
    async with source.storage.read(source.path) as reading, atomic_file(target.parent) as file:
        stat = reading.stat
        if expected.fingerprint is not None and stat.fingerprint != expected.fingerprint:
            raise StorageError(
                StorageErrorKind.CHANGED,
                f"{source.address} was replaced after it was polled "
                f"(then {expected.fingerprint}, now {stat.fingerprint})",
            )
        if stat.size is not None and stat.size > expected.max_bytes:
            raise _too_large(source, f"{stat.size} bytes", expected)
        async for chunk in reading.chunks:
            await file.write(chunk)
            if file.size > expected.max_bytes:
                raise _too_large(source, f"more than {expected.max_bytes} bytes", expected)
        if stat.size is not None and file.size != stat.size:
            raise StorageError(
                StorageErrorKind.UNAVAILABLE,
                f"{source.address} reported a size of {stat.size} bytes, but sent {file.size}",
            )
        digest = f"sha256:{file.sha256}"
        if expected.digest is not None and digest != expected.digest:
            raise StepError(
                Reason.DIGEST_MISMATCH,
                f"{source.address} has {digest} ({file.size} bytes), but spec.source.digest is {expected.digest}: "
                "correct the digest, or find out who changed the file",
            )
        await file.commit(target)
        log.info("fetched %s: %d bytes, %s", source.address, file.size, digest)
        return Fetched(digest, file.size)


def _too_large(source: SourceFile, size: str, expected: Expected) -> StorageError:
    return StorageError(
        StorageErrorKind.TOO_LARGE, f"{source.address} has {size}, but the limit is {expected.max_bytes}"
    )


async def _write(path: Path, content: bytes) -> None:
    async with atomic_file(path.parent) as file:
        await file.write(content)
        await file.commit(path)
