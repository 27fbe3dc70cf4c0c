"""A scheme of source addresses: its form and rules, its credentials, how it is opened, and what a pod needs for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keras_api.pod_part import PodPart
from keras_api.resource import AddressScheme, S3Options
from keras_store.storage.base import Storage, Timeouts

VOLUMES = Path("/volumes")
"""Folder of a fetch container under which the claims of pvc:// addresses are mounted by name."""


@dataclass(frozen=True)
class Address:
    """An address in its parts."""

    uri: str
    """The address as it is written."""
    host: str
    """Between ``//`` and the next slash: host and port, bucket or claim."""
    path: str
    """After that slash."""


@dataclass(frozen=True)
class Access:
    """Settings with which a scheme opens an address."""

    credentials: Mapping[str, str] = field(default_factory=dict)
    """By their environment names; without empty values."""
    s3: S3Options | None = None
    """Options of s3 addresses."""
    timeouts: Timeouts = Timeouts()  # noqa: RUF009 - immutable
    """Of requests to the source."""
    volumes: Path = VOLUMES
    """Folder under which claims are mounted by name."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a source: the storage that has it, and its path there."""

    storage: Storage
    path: str

    @property
    def address(self) -> str:
        """The address for messages, without credentials."""
        return self.storage.address(self.path)


@dataclass(frozen=True, kw_only=True)
class Scheme(AddressScheme):
    """One kind of source, complete: the registry, the CRD and the operator need no other knowledge of it."""

    open: Callable[[Address, Access], SourceFile]
    """Opens a file. Raises ValueError for an invalid address, and StepError (SecretNotFound) for invalid
    credentials."""
    host: str = "[^/]+"
    """Regular expression of the part between ``//`` and the next slash."""
    credential_keys: tuple[str, ...] = ()
    """Keys that the Secret of `spec.source.secretRef` may have for this scheme."""
    pod_part: Callable[[Sequence[str]], PodPart] = lambda hosts: PodPart()
    """What a fetch container needs to open addresses with these hosts (sorted, each one once), besides credentials."""

    def has_name(self, name: str) -> bool:
        """Whether the part before ``://`` names this scheme."""
        return re.fullmatch(self.pattern, name) is not None

    def address(self, uri: str) -> Address | None:
        """The parts of an address; None when it is not a valid one of this scheme."""
        match = re.fullmatch(rf"(?:{self.pattern})://(?P<host>{self.host})/(?P<path>.+)", uri)
        return Address(uri, match["host"], match["path"]) if match else None
