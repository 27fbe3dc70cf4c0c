"""The prepare request: the input of the steps fetch, prepare and put of a prepare Job, as one JSON argument.

The steps share a work folder (`keras_api.work_folder`). fetch has the credentials of the source, put has those of the
store. prepare, which opens the user's file, has none.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from keras_api.manifest import Contract
from keras_api.resource import KerasModel, S3Options, Validation
from keras_api.scalars import Digest

REQUEST_VERSION: Final = 1


class PrepareRequest(Contract, frozen=True, kw_only=True):
    """A revision of a model to prepare."""

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
    rows_independent: bool = True

    @property
    def bundle_path(self) -> str:
        """Path of the bundle in the store."""
        return bundle_path(self.namespace, self.model, self.revision)


class RequestError(ValueError):
    """The prepare request is invalid. The message names the field."""


def bundle_path(namespace: str, model: str, revision: str) -> str:
    """Path of a bundle, relative to the root of the store."""
    return f"{namespace}/{model}/{revision}"


def prepare_request(model: KerasModel, revision: str, fingerprint: str) -> PrepareRequest:
    """The request to prepare a revision of a model."""
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
        rows_independent=spec.serving.rows_independent,
    )


def encode_request(request: PrepareRequest) -> str:
    """The request as one line of JSON."""
    return msgspec.json.encode({"version": REQUEST_VERSION, **msgspec.to_builtins(request)}).decode()


def decode_request(text: str) -> PrepareRequest:
    """Parse a request strictly.

    Raises:
        RequestError: the text is not a valid request.
    """
    try:
        return msgspec.json.decode(text, type=PrepareRequest)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise RequestError(f"the prepare request is not valid: {error}") from error
