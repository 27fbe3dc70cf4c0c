"""The fingerprint of a source: a short text that changes when the file does, had without fetching it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from keras_api.resource import S3Options
from keras_store.errors import StepError, StorageError, StorageErrorKind, source_failure
from keras_store.retry import retrying
from keras_store.sources.registry import fixed_fingerprint, open_source
from keras_store.storage import Timeouts

# The size of a file whose digest is pinned is worth little waiting.
SIZE_SECONDS = 5.0


@dataclass(frozen=True)
class Fingerprint:
    """What identifies the content of a source, and its size where the source tells it."""

    value: str
    size_bytes: int | None


async def fingerprint(
    uri: str,
    s3: S3Options | None = None,
    credentials: Mapping[str, str] | None = None,
    *,
    digest: str | None = None,
    timeout: float = 20.0,  # noqa: ASYNC109 - of the answer, with its own text
) -> Fingerprint:
    """Ask a source what its file is now.

    Args:
        uri: address of the file.
        s3: options for s3 addresses.
        credentials: under their usual environment names.
        digest: the pinned digest, which then is the fingerprint; the source is asked for the size only, and if it does
            not answer the size is unknown.
        timeout: seconds for everything, repeats included.

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
    place = open_source(uri, s3, credentials or {}, timeouts=Timeouts(connect=min(5.0, timeout), silence=timeout))
    try:
        async with asyncio.timeout(timeout), place.storage:
            # One repeat, for the blip; the operator's own queue knows how to be patient.
            stat = await retrying(lambda: place.storage.stat(place.path), attempts=2)
    except TimeoutError as error:
        late = StorageError(StorageErrorKind.UNREACHABLE, f"{place.address}: no answer within {timeout:g} s")
        raise source_failure(late) from error
    except StorageError as error:
        raise source_failure(error) from error
    return Fingerprint(stat.fingerprint, stat.size)
