"""The fingerprint of a source: its version, which changes when the file changes, without a download."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from keras_api.resource import S3Options
from keras_store.errors import StepError, StorageError, StorageErrorKind, source_failure
from keras_store.retry import retrying
from keras_store.sources.registry import fixed_fingerprint, open_source
from keras_store.storage.base import Timeouts

# With a pinned digest only the size is asked for, which is not worth a long wait.
SIZE_SECONDS = 5.0


@dataclass(frozen=True)
class Fingerprint:
    """Identifies the content of a source; with its size where that is known."""

    value: str
    size_bytes: int | None


async def fingerprint(
    uri: str,
    s3: S3Options | None = None,
    credentials: Mapping[str, str] | None = None,
    *,
    digest: str | None = None,
    timeout: float = 20.0,  # noqa: ASYNC109 - the error has a message of its own
) -> Fingerprint:
    """The fingerprint of a source now.

    Args:
        uri: address of the file.
        s3: options for s3 addresses.
        credentials: by their environment names.
        digest: the pinned digest, which then is the fingerprint. The source is asked only for the size, which is
            unknown when it does not answer.
        timeout: seconds for all attempts together.

    Raises:
        StepError: with one of the Source... reasons, SecretNotFound or SpecInvalid.
    """
    if fixed := fixed_fingerprint(uri):
        return Fingerprint(digest or fixed, None)
    if digest is not None:
        with suppress(StepError):
            found = await fingerprint(uri, s3, credentials, timeout=min(timeout, SIZE_SECONDS))
            return Fingerprint(digest, found.size_bytes)
        return Fingerprint(digest, None)
    source = open_source(uri, s3, credentials or {}, timeouts=Timeouts(connect=min(5.0, timeout), idle=timeout))
    try:
        async with asyncio.timeout(timeout), source.storage:
            # One retry, for a short interruption; the operator polls again after a failure.
            stat = await retrying(lambda: source.storage.stat(source.path), attempts=2)
    except TimeoutError as error:
        late = StorageError(StorageErrorKind.UNREACHABLE, f"{source.address}: no answer within {timeout:g} s")
        raise source_failure(late) from error
    except StorageError as error:
        raise source_failure(error) from error
    return Fingerprint(stat.fingerprint, stat.size)
