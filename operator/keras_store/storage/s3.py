"""Objects in buckets of Amazon S3, and of services with its protocol."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from keras_store.atomic_file import CHUNK_BYTES
from keras_store.credentials import S3Keys
from keras_store.errors import StorageError, StorageErrorKind
from keras_store.storage.base import Reading, Stat, Timeouts, WritableStorage

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Credential

# obstore distinguishes most errors only by their text (0.12). The first match wins.
_ERRORS: list[tuple[re.Pattern[str], StorageErrorKind, str]] = [
    (re.compile(pattern), kind, phrase)
    for pattern, kind, phrase in [
        (r"NoSuchBucket", StorageErrorKind.MISSING, "the bucket does not exist"),
        (r"InvalidAccessKeyId|XAdminUserNotFound", StorageErrorKind.DENIED, "the service does not know the access key"),
        (r"SignatureDoesNotMatch", StorageErrorKind.DENIED, "the secret access key is wrong"),
        (r"(ExpiredToken|TokenRefreshRequired)", StorageErrorKind.DENIED, "the session token has expired"),
        (r"status code: (401|403)", StorageErrorKind.DENIED, "access denied"),
        (r"status code: (404|410)", StorageErrorKind.MISSING, "there is no such object"),
        (r"status code: 507|QuotaExceeded|XMinioStorageFull", StorageErrorKind.FULL, "no space is left"),
        (
            r"without LOCATION|status code: 30\d|AuthorizationHeaderMalformed",
            StorageErrorKind.INVALID_REQUEST,
            "the bucket is in another region",
        ),
        (r"status code: (5\d\d|408|425|429)", StorageErrorKind.UNAVAILABLE, "the service reports an error"),
        (r"status code: (4\d\d)", StorageErrorKind.INVALID_REQUEST, "the service rejects the request"),
        (r"dns error|failed to lookup", StorageErrorKind.UNREACHABLE, "the host does not resolve"),
        (r"ConnectionRefused", StorageErrorKind.UNREACHABLE, "the connection is refused"),
        (r"InvalidCertificate\(\s*Expired", StorageErrorKind.UNTRUSTED, "the server's certificate has expired"),
        (
            r"InvalidCertificate\(\s*NotValidForName",
            StorageErrorKind.UNTRUSTED,
            "the server's certificate is for another host",
        ),
        (r"InvalidCertificate", StorageErrorKind.UNTRUSTED, "the server's certificate is not trusted"),
        (r"InvalidMessage|InvalidContentType|invalid peer", StorageErrorKind.UNTRUSTED, "no TLS connection"),
        (r"ConnectError\((.|\n)*TimedOut", StorageErrorKind.UNREACHABLE, "the connection timed out"),
        (r"TimedOut|kind: Timeout", StorageErrorKind.TIMEOUT, "no answer in time"),
        (r"kind: Connect", StorageErrorKind.UNREACHABLE, "no connection"),
        (
            r"IncompleteBody|Interrupted|body error",
            StorageErrorKind.UNAVAILABLE,
            "the connection closed before the end of the response",
        ),
    ]
]
_SERVICE_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3}[^:\n]*)")

# obstore reports the progress of an upload only by parts, and the idle timeout applies to each part. Parts have the
# smallest size that S3 allows, and one is sent at a time: with a timeout of 25 s, 205 KiB/s are enough.
_PART_BYTES = 5 << 20
_CONCURRENT_PARTS = 1

# obstore returns the epoch for an absent Last-Modified.
_EPOCH = datetime.fromtimestamp(0, UTC)


class S3Storage(WritableStorage):
    """The objects of a bucket, under a prefix.

    Args:
        bucket: name.
        prefix: of every key, without slashes at its ends; may be empty.
        endpoint: URL of the service; None: Amazon's.
        region: of the bucket.
        keys: credentials; None: anonymous. The credentials of the process or its machine are never used, because a
            tenant must not get the rights of the operator.
        timeouts: of requests.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint: str | None = None,
        region: str = "us-east-1",
        keys: S3Keys | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - immutable
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._endpoint = endpoint or f"https://s3.{region}.amazonaws.com"
        self._timeouts = timeouts
        self._store = S3Store(
            bucket,
            endpoint=self._endpoint,
            region=region,
            # A provider takes precedence over the AWS_* variables of the environment; not all single options do.
            credential_provider=None if keys is None else lambda: _credential(keys),
            skip_signature=keys is None,
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=timeouts.connect),
                "read_timeout": timedelta(seconds=timeouts.idle),
                # Of the whole response; the default of 30 s would end every long download.
                "timeout": timedelta(days=1),
            },
            # `keras_store.retry` retries; both together would take minutes to report an error.
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeouts.idle)},
        )

    def address(self, path: str) -> str:
        """The object's s3:// address and its service."""
        return f"s3://{self._bucket}/{self._prefix}{path} at {self._endpoint}"

    async def stat(self, path: str) -> Stat:
        """The object's metadata."""
        with self._translated(path):
            try:
                return _stat(await obstore.head_async(self._store, self._prefix + path))
            except (FileNotFoundError, BaseError):
                # The response to HEAD has no body, which would name the cause (key, bucket or credentials). The
                # response to GET has one.
                result = await obstore.get_async(self._store, self._prefix + path)
                return _stat(result.meta)

    @asynccontextmanager
    async def read(self, path: str) -> AsyncIterator[Reading]:
        """The object's content, in chunks."""
        with self._translated(path):
            result = await obstore.get_async(self._store, self._prefix + path)

        async def chunks() -> AsyncIterator[bytes]:
            with self._translated(path):
                async for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                    yield bytes(chunk)

        # Outside of the translation: an exception of the caller's block is not an error of the service.
        yield Reading(stat=_stat(result.meta), chunks=chunks())

    async def write(self, path: str, file: Path, *, size: int, sha256: str) -> None:
        """Upload, in parts when the file is large."""
        with self._translated(path):
            await obstore.put_async(
                self._store,
                self._prefix + path,
                file,
                chunk_size=_PART_BYTES,
                max_concurrency=_CONCURRENT_PARTS,
            )

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, BaseError) as error:
            kind, phrase = _diagnosis(str(error))
            if kind is StorageErrorKind.TIMEOUT:
                phrase = f"{phrase} (no data for {self._timeouts.idle:g} s)"
            raise StorageError(kind, f"{self.address(path)}: {phrase}") from error


async def _credential(keys: S3Keys) -> S3Credential:
    return {
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key,
        "token": keys.session_token,
        "expires_at": None,
    }


def _diagnosis(text: str) -> tuple[StorageErrorKind, str]:
    for pattern, kind, phrase in _ERRORS:
        if pattern.search(text):
            # The code of the service is best to search for; without one, the status is.
            detail = _SERVICE_CODE.search(text) or _STATUS.search(text)
            return kind, f"{phrase} ({detail[1].strip()})" if detail else phrase
    return StorageErrorKind.UNAVAILABLE, text.partition("\n")[0]


def _stat(meta: ObjectMeta) -> Stat:
    modified = meta["last_modified"]
    return Stat(size=meta["size"], etag=meta["e_tag"], modified=None if modified == _EPOCH else modified)
