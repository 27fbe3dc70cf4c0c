"""The prepare request: all that the steps fetch, prepare and put need to know, as one JSON argument.

The operator writes it into the prepare Job; a laptop passes it to the same commands. The steps share a work folder::

    source/model.keras (or .h5)    written by fetch
    source/validation.csv          written by fetch, when the request has a validation
    source/record.json             written by fetch: SourceRecord
    bundle/                        written by prepare, read by put (see keras_api.manifest)

fetch holds the source's credentials, put the store's, and prepare, which opens the foreign file, holds none.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from keras_api.manifest import Contract
from keras_api.resource import KerasModel, S3Options, Validation
from keras_api.scalars import Digest

REQUEST_VERSION: Final = 1


class PrepareRequest(Contract, frozen=True, kw_only=True):
    """What to prepare."""

    version: Literal[1] = REQUEST_VERSION
    namespace: str
    model: str
    revision: str
    fingerprint: str
    uri: str
    digest: Digest | None = None
    s3: S3Options | None = None
    validation: Validation | None = None
    runtime: Literal["auto", "onnxruntime", "tensorflow"] = "auto"

    @property
    def bundle_path(self) -> str:
        """Where the bundle lies in the store."""
        return bundle_path(self.namespace, self.model, self.revision)


class RequestError(ValueError):
    """A prepare request that cannot be read."""


def bundle_path(namespace: str, model: str, revision: str) -> str:
    """Place of a bundle in the store, relative to its root."""
    return f"{namespace}/{model}/{revision}"


def prepare_request(model: KerasModel, revision: str, fingerprint: str) -> PrepareRequest:
    """The request for a model's revision."""
    spec = model.spec
    return PrepareRequest(
        namespace=model.metadata.namespace,
        model=model.metadata.name,
        revision=revision,
        fingerprint=fingerprint,
        uri=spec.source.uri,
        digest=spec.source.digest,
        s3=spec.source.s3,
        validation=spec.validation,
        runtime=spec.serving.runtime,
    )


def encode_request(request: PrepareRequest) -> str:
    """The request as one line of JSON."""
    return msgspec.json.encode({"version": REQUEST_VERSION, **msgspec.to_builtins(request)}).decode()


def decode_request(text: str) -> PrepareRequest:
    """Parse a request strictly.

    Raises:
        RequestError: naming the field that is wrong.
    """
    try:
        return msgspec.json.decode(text, type=PrepareRequest)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise RequestError(f"the prepare request is not valid: {error}") from error
