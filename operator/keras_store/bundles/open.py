"""Opens the artifact store at a URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from keras_api.reasons import Reason
from keras_store.bundles.embedded import EmbeddedStorage
from keras_store.bundles.store import BundleStore
from keras_store.credentials import s3_keys
from keras_store.errors import StepError, StorageError, StorageErrorKind
from keras_store.storage.base import Timeouts
from keras_store.storage.folder import FolderStorage
from keras_store.store_access import STORE_PREFIX, TOKEN_FILE_VARIABLE

# A step fails after two idle timeouts (see `keras_store.retry`), and the status shows the reason. A server logs the
# first one before the operator reads the log (`READINESS_TIMEOUT_SECONDS`).
STORE_TIMEOUTS = Timeouts(idle=25.0)


def bundle_store(url: str, environ: Mapping[str, str] = os.environ) -> BundleStore:
    """The store at a URL.

    Args:
        url: http(s)://host of the embedded store, s3://bucket/prefix, or file:///folder.
        environ: has the variables of `keras_store.store_access`: the path of the embedded store's token, or the
            credentials and options of an S3 store.

    Raises:
        StepError: when the URL is of no known kind.
    """
    scheme, _, rest = url.partition("://")
    match scheme:
        case "http" | "https" if rest:
            token_file = environ.get(TOKEN_FILE_VARIABLE)
            return BundleStore(EmbeddedStorage(url, headers=lambda: _bearer(token_file), timeouts=STORE_TIMEOUTS))
        case "s3" if rest:
            # Imported here: without obstore a server starts faster and needs less memory.
            from keras_store.storage.s3 import S3Storage

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
        f"{url!r} is not a valid store address: it must be http(s)://host, s3://bucket/prefix or file:///folder",
    )


def _bearer(token_file: str | None) -> dict[str, str]:
    if token_file is None:
        return {}
    try:
        # Read for every request: the kubelet replaces it long before it expires.
        return {"Authorization": f"Bearer {Path(token_file).read_text().strip()}"}
    except OSError as error:
        raise StorageError(StorageErrorKind.DENIED, f"the store's token {token_file}: {error.strerror}") from error
