"""Credentials by their environment names, as sources and the artifact store take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keras_api.reasons import Reason
from keras_store.errors import StepError

S3_KEY_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True)
class S3Keys:
    """Credentials of an S3 service."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def s3_keys(credentials: Mapping[str, str], prefix: str = "") -> S3Keys | None:
    """S3 credentials; None when there are none.

    Args:
        credentials: values by name; empty values count as absent.
        prefix: of the names.

    Raises:
        StepError: when one of the two keys is absent.
    """
    access_key_id, secret_access_key, session_token = (f"{prefix}{name}" for name in S3_KEY_NAMES)
    keys = pair(credentials, access_key_id, secret_access_key)
    return None if keys is None else S3Keys(*keys, credentials.get(session_token) or None)


def pair(credentials: Mapping[str, str], first: str, second: str) -> tuple[str, str] | None:
    """Two credentials that only work together; None when neither is given.

    Raises:
        StepError: when one of them is absent.
    """
    values = credentials.get(first), credentials.get(second)
    if values[0] and values[1]:
        return values[0], values[1]
    if not values[0] and not values[1]:
        return None
    have, lack = (first, second) if values[0] else (second, first)
    raise StepError(Reason.SECRET_NOT_FOUND, f"the credentials have {have} but not {lack}: add it to the Secret")
