"""The list of schemes, and functions for an address of any scheme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path, PurePosixPath

from keras_api.pod_part import PodPart
from keras_api.reasons import Reason
from keras_api.resource import S3Options, alternatives
from keras_store.errors import StepError
from keras_store.redaction import public_url
from keras_store.sources.base import VOLUMES, Access, Scheme, SourceFile
from keras_store.sources.file import FILE
from keras_store.sources.https import HTTP
from keras_store.sources.pvc import PVC
from keras_store.sources.s3 import S3
from keras_store.storage.base import Timeouts

SCHEMES: tuple[Scheme, ...] = (S3, HTTP, PVC)
"""Schemes that a KerasModel can use."""
LOCAL_SCHEMES: tuple[Scheme, ...] = (FILE,)
"""Schemes that only the command line can use."""


def open_source(
    uri: str,
    s3: S3Options | None,
    credentials: Mapping[str, str],
    *,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - immutable
    volumes: Path = VOLUMES,
) -> SourceFile:
    """The file at an address.

    Args:
        uri: address of the file.
        s3: options for s3 addresses.
        credentials: by their environment names; empty values count as absent.
        timeouts: of requests to the source.
        volumes: folder under which claims are mounted by name.

    Raises:
        StepError: SpecInvalid for an invalid address, SecretNotFound for incomplete credentials.
    """
    scheme = _scheme_of(uri)
    address = scheme.address(uri) if scheme else None
    if scheme is None or address is None:
        raise _invalid(uri, f"it must be {alternatives(form for each in SCHEMES for form in each.forms)}")
    if ".." in PurePosixPath(address.path).parts or address.host in {".", ".."}:
        raise _invalid(uri, "it must not contain . or .. as a path segment")
    given = {name: value.strip() for name, value in credentials.items() if value.strip()}
    try:
        return scheme.open(address, Access(given, s3, timeouts, volumes))
    except ValueError as error:
        raise _invalid(uri, str(error)) from error


def fixed_fingerprint(uri: str) -> str | None:
    """The fingerprint of a file whose scheme the operator cannot access and does not poll; None for all others."""
    scheme = _scheme_of(uri)
    return scheme.fixed_fingerprint if scheme else None


def credential_keys(uri: str) -> tuple[str, ...]:
    """The keys that a Secret for an address may have; empty when the address takes no credentials."""
    scheme = _scheme_of(uri)
    return scheme.credential_keys if scheme else ()


def all_credential_keys() -> tuple[str, ...]:
    """The keys that a Secret may have for the addresses of any scheme."""
    return tuple(key for scheme in SCHEMES for key in scheme.credential_keys)


def source_parts(uris: Sequence[str], secret_name: str | None) -> PodPart:
    """What a fetch container needs to open these addresses.

    Args:
        uris: the addresses.
        secret_name: name of the Secret with their credentials; None when the model has none.
    """
    parts = [PodPart(env_from=({"secretRef": {"name": secret_name}},))] if secret_name else []
    for scheme in SCHEMES:
        if hosts := sorted({address.host for uri in uris if (address := scheme.address(uri))}):
            parts.append(scheme.pod_part(hosts))
    return reduce(add, parts, PodPart())


def suffix(uri: str) -> str:
    """The type of the file by its name: ``.keras``, or ``.h5`` for both endings of the legacy format."""
    ending = PurePosixPath(uri.partition("?")[0]).suffix.lower()
    return {".hdf5": ".h5"}.get(ending, ending)


def _scheme_of(uri: str) -> Scheme | None:
    name, separator, _ = uri.partition("://")
    return next((scheme for scheme in (*SCHEMES, *LOCAL_SCHEMES) if separator and scheme.has_name(name)), None)


def _invalid(uri: str, problem: str) -> StepError:
    return StepError(Reason.SPEC_INVALID, f"{public_url(uri)} is not a valid source address: {problem}")
