"""What can go wrong with files elsewhere: troubles that a storage has, and the reasons that status shows for them."""

from __future__ import annotations

from enum import StrEnum

from keras_api.reasons import Reason


class StorageErrorKind(StrEnum):
    """Kinds of failure that every storage has, whatever its protocol."""

    MISSING = "missing"  # it answers, and the file or bucket is not there
    DENIED = "denied"  # it wants other credentials
    UNREACHABLE = "unreachable"  # no name, no connection
    TIMEOUT = "timeout"  # it is connected, and for too long not a byte moves
    UNTRUSTED = "untrusted"  # TLS failed
    UNAVAILABLE = "unavailable"  # it answers that it cannot now, or breaks off
    INVALID_REQUEST = "invalid-request"  # it says that the request is wrong
    CONFLICT = "conflict"  # something else stands there
    FULL = "full"  # no space left
    CHANGED = "changed"  # not the file that was seen before
    TOO_LARGE = "too large"


# What can pass by itself within seconds, so that the same request is worth repeating.
_TRANSIENT = {StorageErrorKind.UNREACHABLE, StorageErrorKind.TIMEOUT, StorageErrorKind.UNAVAILABLE}


class StorageError(Exception):
    """A storage could not do what it was asked; the text begins with the address and holds no credentials."""

    def __init__(self, kind: StorageErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return self.kind in _TRANSIENT


class StepError(Exception):
    """A step's failure as the resource's status shows it: a reason, and a text that names culprit and remedy."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


_CHECK_SOURCE = "check the host, DNS and network policies; the operator tries again"
_SOURCE: dict[StorageErrorKind, tuple[Reason, str]] = {
    StorageErrorKind.MISSING: (Reason.SOURCE_NOT_FOUND, "correct the address, or put the file there"),
    StorageErrorKind.DENIED: (
        Reason.SOURCE_ACCESS_DENIED,
        "let spec.source.secretRef name a Secret with credentials that may read it",
    ),
    StorageErrorKind.UNREACHABLE: (Reason.SOURCE_UNREACHABLE, _CHECK_SOURCE),
    StorageErrorKind.TIMEOUT: (Reason.SOURCE_UNREACHABLE, _CHECK_SOURCE),
    StorageErrorKind.UNTRUSTED: (
        Reason.SOURCE_UNREACHABLE,
        "give the server a valid certificate of an authority that the images know, or write http:// if it has none",
    ),
    StorageErrorKind.UNAVAILABLE: (
        Reason.SOURCE_UNREACHABLE,
        "the operator tries again; if it stays, look at the server",
    ),
    StorageErrorKind.INVALID_REQUEST: (
        Reason.SOURCE_UNREACHABLE,
        "check the address, and for s3 the endpoint and region in spec.source.s3",
    ),
    StorageErrorKind.CONFLICT: (Reason.SOURCE_UNREACHABLE, _CHECK_SOURCE),
    StorageErrorKind.FULL: (Reason.SOURCE_UNREACHABLE, _CHECK_SOURCE),
    StorageErrorKind.CHANGED: (Reason.SOURCE_CHANGED, "the operator looks again and prepares the new file"),
    StorageErrorKind.TOO_LARGE: (Reason.SOURCE_TOO_LARGE, "serve a smaller model, or raise the chart's limit"),
}

PREPARED_AGAIN = "the operator prepares it again while the spec asks for it"
_CHECK_STORE = "check that the store runs; what is served already is not affected"
_STORE: dict[StorageErrorKind, tuple[Reason, str]] = {
    StorageErrorKind.MISSING: (
        Reason.STORE_UNAVAILABLE,
        "check the chart's store settings: the bucket or folder must exist",
    ),
    StorageErrorKind.DENIED: (
        Reason.STORE_UNAVAILABLE,
        "check the credentials that the chart gives the store's clients",
    ),
    StorageErrorKind.UNREACHABLE: (Reason.STORE_UNAVAILABLE, _CHECK_STORE),
    StorageErrorKind.TIMEOUT: (
        Reason.STORE_UNAVAILABLE,
        "look whether the store, its volume or the network hangs; what is served already is not affected",
    ),
    StorageErrorKind.UNTRUSTED: (
        Reason.STORE_UNAVAILABLE,
        "give the store a certificate of an authority that the images know",
    ),
    StorageErrorKind.UNAVAILABLE: (Reason.STORE_UNAVAILABLE, _CHECK_STORE),
    StorageErrorKind.INVALID_REQUEST: (
        Reason.STORE_UNAVAILABLE,
        "check the chart's store settings (URL, endpoint, region)",
    ),
    StorageErrorKind.CONFLICT: (
        Reason.STORE_UNAVAILABLE,
        "another run writes the same bundle: the operator tries again",
    ),
    StorageErrorKind.FULL: (Reason.STORE_UNAVAILABLE, "enlarge the store's volume, or delete old bundles"),
    StorageErrorKind.CHANGED: (Reason.BUNDLE_INVALID, PREPARED_AGAIN),
    StorageErrorKind.TOO_LARGE: (Reason.BUNDLE_INVALID, PREPARED_AGAIN),
}


def source_failure(error: StorageError) -> StepError:
    """What a trouble with the source means for the resource."""
    return _failure(error, *_SOURCE[error.kind])


def store_failure(error: StorageError) -> StepError:
    """What a trouble with the artifact store means for the resource."""
    return _failure(error, *_STORE[error.kind])


def no_space(error: OSError) -> StepError:
    """What a full disk means for the resource."""
    return StepError(Reason.VOLUME_UNAVAILABLE, f"no space is left in {error.filename}: make room on the pod's node")


def _failure(error: StorageError, reason: Reason, remedy: str) -> StepError:
    return StepError(reason, f"{error.message}: {remedy}")
