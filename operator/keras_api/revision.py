"""The revision: a hash of the inputs of the prepare step. The same inputs are not prepared twice."""

from __future__ import annotations

import hashlib

import msgspec

from keras_api.resource import KerasModelSpec

REVISION_LENGTH = 10


def revision_of(spec: KerasModelSpec, fingerprint: str) -> str:
    """Ten hex digits that change if, and only if, the file, its code, the validation or the way to convert it changes.

    Args:
        spec: the model's spec.
        fingerprint: version of the source: its digest, or the result of `keras_store.sources.fingerprint`.
    """
    # A digest identifies the content. Any other fingerprint identifies it only together with the address.
    content = [fingerprint] if spec.source.digest else [spec.source.uri, spec.source.s3, fingerprint]
    code = spec.source.custom_objects
    serving = spec.serving
    # Fields that later releases added count only where they are set, so that present revisions keep their names.
    added = [*([code] if code is not None else []), *([] if serving.rows_independent else ["rowsDepend"])]
    inputs = [content, spec.validation, serving.runtime, *added]
    return hashlib.sha256(msgspec.json.encode(inputs, order="deterministic")).hexdigest()[:REVISION_LENGTH]
