"""``s3://bucket/key``: objects of Amazon S3 and of services with its protocol."""

from __future__ import annotations

from keras_api.resource import S3Options, cel
from keras_store.credentials import S3_KEY_NAMES, s3_keys
from keras_store.sources.base import Access, Address, Scheme, SourceFile


def _open(address: Address, access: Access) -> SourceFile:
    # Imported here: obstore takes time and memory that a process without s3 addresses does not need.
    from keras_store.storage.s3 import S3Storage

    options = access.s3 or S3Options()
    storage = S3Storage(
        address.host,
        endpoint=options.endpoint,
        region=options.region,
        keys=s3_keys(access.credentials),
        timeouts=access.timeouts,
    )
    return SourceFile(storage, address.path)


S3 = Scheme(
    pattern="s3",
    forms=("s3://bucket/key",),
    option_rules=(
        cel("!has(self.s3) || self.uri.startsWith('s3://')", "s3 options need an s3:// uri", fieldPath=".s3"),
    ),
    credential_keys=S3_KEY_NAMES,
    credentials_help=f"{', '.join(S3_KEY_NAMES)} for s3",
    open=_open,
)
