"""Errors of storages, and the reasons and remedies with which the status of a resource reports them."""

from __future__ import annotations

from enum import StrEnum

from keras_api.reasons import Reason


class StorageErrorKind(StrEnum):
    """Kinds of error that every storage can have."""

    MISSING = "missing"  # the file or the bucket does not exist
    DENIED = "denied"  # the credentials are not accepted
    UNREACHABLE = "unreachable"  # DNS or the connection fails
    TIMEOUT = "timeout"  # the idle timeout of a connection has expired
    UNTRUSTED = "untrusted"  # TLS fails
    UNAVAILABLE = "unavailable"  # the service reports an error of its own, or closes the connection
    INVALID_REQUEST = "invalid-request"  # the service rejects the request
    CONFLICT = "conflict"  # another file has this path
    FULL = "full"  # no space is left
    CHANGED = "changed"  # the file differs from the expected one
    TOO_LARGE = "too large"


_TRANSIENT = {StorageErrorKind.UNREACHABLE, StorageErrorKind.TIMEOUT, StorageErrorKind.UNAVAILABLE}


class StorageError(Exception):
    """A storage cannot do what it was asked for. The text begins with the address and contains no credentials."""

    def __init__(self, kind: StorageErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    @property
    def transient(self) -> bool:
        """Whether a retry within seconds can succeed."""
        return self.kind in _TRANSIENT


class StepError(Exception):
    """A failed step as the status of the resource reports it: a reason, and a text with culprit and remedy."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


_CHECK_SOURCE = "check the host, DNS and network policies; the operator retries"
_SOURCE: dict[StorageErrorKind, tuple[Reason, str]] = {
    StorageErrorKind.MISSING: (Reason.SOURCE_NOT_FOUND, "correct the address, or put the file there"),
    StorageErrorKind.DENIED: (
        Reason.SOURCE_ACCESS_DENIED,
        "set spec.source.secretRef to a Secret with credentials that may read it",
    ),
    StorageErrorKind.UNREACHABLE: (Reason.SOURCE_UNREACHABLE, _CHECK_SOURCE),
    StorageErrorKind.TIMEOUT: (Reason.SOURCE_UNREACHABLE, _CHECK_SOURCE),
    StorageErrorKind.UNTRUSTED: (
        Reason.SOURCE_UNREACHABLE,
        "give the server a valid certificate of an authority that the images trust, or use http:// if it has none",
    ),
    StorageErrorKind.UNAVAILABLE: (
        Reason.SOURCE_UNREACHABLE,
        "the operator retries; if the error persists, check the server",
    ),
    StorageErrorKind.INVALID_REQUEST: (
        Reason.SOURCE_UNREACHABLE,
        "check the address, and for s3 the endpoint and region in spec.source.s3",
    ),
    StorageErrorKind.CONFLICT: (Reason.SOURCE_UNREACHABLE, _CHECK_SOURCE),
    StorageErrorKind.FULL: (Reason.SOURCE_UNREACHABLE, _CHECK_SOURCE),
    StorageErrorKind.CHANGED: (Reason.SOURCE_CHANGED, "the operator polls the source again and prepares the new file"),
    StorageErrorKind.TOO_LARGE: (
        Reason.SOURCE_TOO_LARGE,
        "serve a smaller model, or increase the chart value prepare.maxSourceSize",
    ),
}

PREPARED_AGAIN = "the operator prepares it again while it is the desired revision"
_CHECK_STORE = "check that the store runs; models that are being served are not affected"
_STORE: dict[StorageErrorKind, tuple[Reason, str]] = {
    StorageErrorKind.MISSING: (
        Reason.STORE_UNAVAILABLE,
        "check the chart's store settings: the bucket or folder must exist",
    ),
    StorageErrorKind.DENIED: (
        Reason.STORE_UNAVAILABLE,
        "check the credentials that the chart gives to the store's clients",
    ),
    StorageErrorKind.UNREACHABLE: (Reason.STORE_UNAVAILABLE, _CHECK_STORE),
    StorageErrorKind.TIMEOUT: (
        Reason.STORE_UNAVAILABLE,
        "check the store, its volume and the network; models that are being served are not affected",
    ),
    StorageErrorKind.UNTRUSTED: (
        Reason.STORE_UNAVAILABLE,
        "give the store a certificate of an authority that the images trust",
    ),
    StorageErrorKind.UNAVAILABLE: (Reason.STORE_UNAVAILABLE, _CHECK_STORE),
    StorageErrorKind.INVALID_REQUEST: (
        Reason.STORE_UNAVAILABLE,
        "check the chart's store settings (URL, endpoint, region)",
    ),
    StorageErrorKind.CONFLICT: (
        Reason.STORE_UNAVAILABLE,
        "another run writes the same bundle; the operator retries",
    ),
    StorageErrorKind.FULL: (Reason.STORE_UNAVAILABLE, "enlarge the store's volume, or delete old bundles"),
    StorageErrorKind.CHANGED: (Reason.BUNDLE_INVALID, PREPARED_AGAIN),
    StorageErrorKind.TOO_LARGE: (Reason.BUNDLE_INVALID, PREPARED_AGAIN),
}


def source_failure(error: StorageError) -> StepError:
    """An error of a source as the status reports it."""
    return _failure(error, *_SOURCE[error.kind])


def store_failure(error: StorageError) -> StepError:
    """An error of the artifact store as the status reports it."""
    return _failure(error, *_STORE[error.kind])


def no_space(error: OSError) -> StepError:
    """A full disk of the pod as the status reports it."""
    return StepError(Reason.VOLUME_UNAVAILABLE, f"no space is left in {error.filename}: free space on the pod's node")


def _failure(error: StorageError, reason: Reason, remedy: str) -> StepError:
    return StepError(reason, f"{error.message}: {remedy}")
