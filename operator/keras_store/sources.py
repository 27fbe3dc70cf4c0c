"""Sources: where a model file or its validation rows come from, by the address that a KerasModel gives."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from keras_api.reasons import Reason
from keras_api.resource import S3Options
from keras_store.errors import StepError
from keras_store.folder_storage import FolderStorage
from keras_store.http_storage import HttpStorage, public_url, url_of
from keras_store.s3_storage import Keys, S3Storage
from keras_store.storage import Storage, Timeouts

# Where the operator mounts the claims of pvc:// addresses.
VOLUMES = Path("/volumes")

S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
BEARER_TOKEN, USERNAME, PASSWORD = "HTTP_BEARER_TOKEN", "HTTP_USERNAME", "HTTP_PASSWORD"

CREDENTIAL_NAMES = (*S3_KEYS, BEARER_TOKEN, USERNAME, PASSWORD)

_URI = re.compile(r"(?P<scheme>[a-z0-9]+)://(?P<host>[^/]*)/(?P<path>.+)")


@dataclass(frozen=True)
class SourceFile:
    """A file elsewhere: the storage that holds it, and its path there."""

    storage: Storage
    path: str

    @property
    def address(self) -> str:
        """The address for people, without credentials."""
        return self.storage.address(self.path)


def open_source(
    uri: str,
    s3: S3Options | None,
    credentials: Mapping[str, str],
    *,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - immutable
    volumes: Path = VOLUMES,
) -> SourceFile:
    """The file behind an address.

    Args:
        uri: s3://bucket/key, http(s)://host/path, pvc://claim/path or file:///path.
        s3: options for s3 addresses.
        credentials: under their usual environment names; what is absent or empty does not count.
        timeouts: how long to wait for an answer.
        volumes: folder under which claims are mounted by name.

    Raises:
        StepError: when the address or the credentials make no sense.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise _nonsense(uri, "want s3://bucket/key, https://host/path, http://host/path or pvc://claim/path")
    scheme, host, path = match["scheme"], match["host"], match["path"]
    if ".." in PurePosixPath(path).parts or host in {".", ".."}:
        raise _nonsense(uri, ". and .. are not allowed in it")
    given = {name: value.strip() for name, value in credentials.items() if value.strip()}
    match scheme, host:
        case "s3", bucket if bucket:
            options = s3 or S3Options()
            storage = S3Storage(
                bucket, endpoint=options.endpoint, region=options.region, keys=s3_keys(given), timeouts=timeouts
            )
            return SourceFile(storage, path)
        case "http" | "https", host if host:
            if "@" in host:
                raise _nonsense(uri, "credentials belong into the Secret of spec.source.secretRef")
            try:
                url_of(uri)
            except ValueError as error:
                raise _nonsense(uri, str(error)) from error
            headers = _authorization(given)
            return SourceFile(HttpStorage(uri, headers=lambda: headers, timeouts=timeouts, use_proxy=True), "")
        case "pvc", claim if claim:
            return SourceFile(FolderStorage(volumes / claim, name=f"pvc://{claim}"), path)
        case "file", "":
            return SourceFile(FolderStorage(Path("/"), name="file://"), path)
    raise _nonsense(uri, "want s3://bucket/key, https://host/path, http://host/path or pvc://claim/path")


def s3_keys(credentials: Mapping[str, str], prefix: str = "") -> Keys | None:
    """S3 credentials by their environment names, None when there are none.

    Raises:
        StepError: when there is half of a pair.
    """
    names = [f"{prefix}{name}" for name in S3_KEYS]
    access_key_id, secret_access_key, session_token = (credentials.get(name) or None for name in names)
    if access_key_id and secret_access_key:
        return Keys(access_key_id, secret_access_key, session_token)
    if access_key_id or secret_access_key:
        have, lack = names[:2] if access_key_id else names[1::-1]
        raise StepError(Reason.SECRET_NOT_FOUND, f"the credentials have {have} but not {lack}: add it to the Secret")
    return None


def credential_names(uri: str) -> tuple[str, ...]:
    """The keys that a Secret for an address may have; none for an address that takes no credentials."""
    if uri.startswith("s3://"):
        return S3_KEYS
    return (BEARER_TOKEN, USERNAME, PASSWORD) if uri.startswith(("http://", "https://")) else ()


def suffix(uri: str) -> str:
    """The file's type by its name: ``.keras``, or ``.h5`` for both endings of the legacy format."""
    ending = PurePosixPath(uri.partition("?")[0]).suffix.lower()
    return {".hdf5": ".h5"}.get(ending, ending)


def _authorization(credentials: Mapping[str, str]) -> dict[str, str]:
    if token := credentials.get(BEARER_TOKEN):
        return {"Authorization": f"Bearer {token}"}
    user, password = credentials.get(USERNAME), credentials.get(PASSWORD)
    if user and password is not None:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    if user or password:
        have, lack = (USERNAME, PASSWORD) if user else (PASSWORD, USERNAME)
        raise StepError(Reason.SECRET_NOT_FOUND, f"the credentials have {have} but not {lack}: add it to the Secret")
    return {}


def _nonsense(uri: str, want: str) -> StepError:
    return StepError(Reason.SPEC_INVALID, f"{public_url(uri)} is no address of a source: {want}")
