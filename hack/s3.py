"""The S3 service of `python3 hack/cluster addon s3` for the demo and the e2e tests."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import kubectl as k8s
from obstore.store import S3Store


def keys() -> dict[str, str]:
    """The AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the service.

    Raises:
        CommandError: the service is not installed.
    """
    secret = k8s.get("secret", "s3-credentials", "s3")
    if secret is None:
        raise k8s.CommandError("the Secret s3/s3-credentials does not exist: run `python3 hack/cluster addon s3`")
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


@contextmanager
def bucket() -> Iterator[S3Store]:
    """The bucket `models`, through a forwarded port, until the context ends."""
    credentials = keys()
    with k8s.port_forward("service/s3", "s3", 7070) as endpoint:
        yield S3Store(
            "models",
            endpoint=endpoint,
            region="us-east-1",
            access_key_id=credentials["AWS_ACCESS_KEY_ID"],
            secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
            client_options={"allow_http": True, "timeout": "30s"},
        )


def reader_secret() -> dict[str, object]:
    """The Secret `models-reader`, which the KerasModels name in spec.source.secretRef."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "models-reader"}, "stringData": keys()}
