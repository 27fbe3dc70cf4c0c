"""The fetch step: the model file, and the validation rows, from where they are into the prepare Job's work folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from keras_api.manifest import MANIFEST_NAME, SourceRecord, encode_manifest
from keras_api.prepare_request import PrepareRequest
from keras_api.reasons import Reason
from keras_store.atomic_file import atomic_file
from keras_store.bundle_store import BundleStore
from keras_store.errors import StepError, StorageError, StorageErrorKind, source_failure
from keras_store.http_storage import public_url
from keras_store.retry import retrying
from keras_store.sources.base import VOLUMES, SourceFile
from keras_store.sources.registry import fixed_fingerprint, open_source, suffix

log = logging.getLogger(__name__)

# The prepare step reads the rows at once: hundreds of thousands of them fit, and more prove nothing more.
MAX_VALIDATION_BYTES = 256 << 20


@dataclass(frozen=True)
class Fetched:
    """A file that arrived."""

    digest: str  # sha256:<hex>
    size: int  # bytes


async def fetch(
    request: PrepareRequest,
    store: BundleStore,
    work: Path,
    credentials: Mapping[str, str],
    *,
    max_bytes: int,
    volumes: Path = VOLUMES,
) -> int | None:
    """Fill the work folder for the prepare step. Returns the bytes of the model file.

    When the store already has the bundle, whole, only its manifest is fetched (and None returned): the same inputs are
    not prepared twice.

    Args:
        request: what to fetch.
        store: where the bundle would be.
        work: folder that gets ``source/`` or ``bundle/manifest.json``.
        credentials: of the source, under their usual environment names.
        max_bytes: largest model file.
        volumes: folder under which claims are mounted.

    Raises:
        StepError: naming culprit and remedy.
    """
    manifest = await store.whole(request.bundle_path)
    if manifest is not None:
        log.info("%s is in the store already", request.bundle_path)
        await _write(work / "bundle" / MANIFEST_NAME, encode_manifest(manifest))
        return None
    if request.validation is not None:
        rows = open_source(request.validation.data, request.s3, credentials, volumes=volumes)
        try:
            await _download(rows, work / "source" / "validation.csv", MAX_VALIDATION_BYTES)
        except StorageError as error:
            failure = source_failure(error)
            reason, message = failure.reason, failure.message
            if error.kind is StorageErrorKind.TOO_LARGE:
                reason, message = Reason.VALIDATION_DATA_INVALID, f"{error.message}: give fewer rows"
            raise StepError(reason, f"spec.validation.data: {message}") from error
    model = open_source(request.uri, request.s3, credentials, volumes=volumes)
    # A digest identifies the content; a fixed fingerprint does not.
    pinned = request.digest is not None or fixed_fingerprint(request.uri) is not None
    target = work / "source" / f"model{suffix(request.uri)}"
    try:
        fetched = await _download(model, target, max_bytes, None if pinned else request.fingerprint)
    except StorageError as error:
        raise source_failure(error) from error
    if request.digest is not None and fetched.digest != request.digest:
        target.unlink()
        raise StepError(
            Reason.DIGEST_MISMATCH,
            f"{model.address} has {fetched.digest} ({fetched.size} bytes), but spec.source.digest is {request.digest}: "
            "correct the digest, or find out who changed the file",
        )
    record = SourceRecord(
        uri=public_url(request.uri),
        fingerprint=request.fingerprint,
        digest=fetched.digest,
        size_bytes=fetched.size,
    )
    await _write(work / "source" / "record.json", msgspec.json.encode(record))
    return fetched.size


async def _download(place: SourceFile, target: Path, max_bytes: int, fingerprint: str | None = None) -> Fetched:
    async with place.storage:
        return await retrying(lambda: _attempt(place, target, max_bytes, fingerprint))


async def _attempt(place: SourceFile, target: Path, max_bytes: int, fingerprint: str | None) -> Fetched:
    async with place.storage.read(place.path) as reading, atomic_file(target.parent) as file:
        stat = reading.stat
        if fingerprint is not None and stat.fingerprint != fingerprint:
            raise StorageError(
                StorageErrorKind.CHANGED,
                f"{place.address} was replaced after it was looked at (then {fingerprint}, now {stat.fingerprint})",
            )
        if stat.size is not None and stat.size > max_bytes:
            raise _too_large(place, f"{stat.size} bytes", max_bytes)
        async for chunk in reading.chunks:
            await file.write(chunk)
            if file.size > max_bytes:
                raise _too_large(place, f"more than {max_bytes} bytes", max_bytes)
        if stat.size is not None and file.size != stat.size:
            raise StorageError(
                StorageErrorKind.UNAVAILABLE, f"{place.address} promised {stat.size} bytes, and {file.size} arrived"
            )
        await file.commit(target)
        log.info("fetched %s: %d bytes, sha256:%s", place.address, file.size, file.sha256)
        return Fetched(digest=f"sha256:{file.sha256}", size=file.size)


def _too_large(place: SourceFile, size: str, max_bytes: int) -> StorageError:
    return StorageError(StorageErrorKind.TOO_LARGE, f"{place.address} has {size}, and the limit is {max_bytes}")


async def _write(path: Path, content: bytes) -> None:
    async with atomic_file(path.parent) as file:
        await file.write(content)
        await file.commit(path)
