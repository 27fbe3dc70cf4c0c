"""``file:///path``: files of the machine that runs the command. A KerasModel cannot use it."""

from __future__ import annotations

from pathlib import Path

from keras_store.sources.base import Access, Address, Scheme, SourceFile
from keras_store.storage.folder import FolderStorage


def _open(address: Address, access: Access) -> SourceFile:
    return SourceFile(FolderStorage(Path("/"), name="file://"), address.path)


FILE = Scheme(pattern="file", forms=("file:///path",), host="", open=_open)
