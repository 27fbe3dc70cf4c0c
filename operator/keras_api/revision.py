"""The revision: a short name for one set of inputs of the prepare step. Same inputs, same name, no second run."""

from __future__ import annotations

import hashlib

import msgspec

from keras_api.resource import KerasModelSpec

REVISION_LENGTH = 10


def revision_of(spec: KerasModelSpec, fingerprint: str) -> str:
    """Ten hex digits that change when the file, its code, the validation or the wanted runtime change, and only then.

    Args:
        spec: the model's spec.
        fingerprint: what identifies the source's content (its digest, or `keras_store.sources.fingerprint`'s answer).
    """
    # A digest says all about the content; any other fingerprint means something only together with the address.
    content = [fingerprint] if spec.source.digest else [spec.source.uri, spec.source.s3, fingerprint]
    code = spec.source.custom_objects
    inputs = [content, spec.validation, spec.serving.runtime, *([code] if code is not None else [])]
    return hashlib.sha256(msgspec.json.encode(inputs, order="deterministic")).hexdigest()[:REVISION_LENGTH]
