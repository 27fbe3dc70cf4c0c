"""Gets the bundle from the store into its folder."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from keras_api.manifest import ManifestError
from keras_api.step_report import DOWNLOADING
from keras_server import logs
from keras_store.atomic_file import is_full
from keras_store.bundles.folder import read_bundle
from keras_store.bundles.open import bundle_store
from keras_store.errors import no_space
from keras_store.store_access import STORE_PREFIX


async def download(url: str, path: str, folder: Path) -> None:
    """Have a bundle in a folder, every file checked.

    A container that starts anew finds the bundle of its predecessor there, and then needs no store.

    Args:
        url: the store's.
        path: the bundle's, in the store.
        folder: where to.

    Raises:
        StepError: StoreUnavailable, BundleInvalid, or VolumeUnavailable.
    """
    store = bundle_store(url, os.environ)
    # Who makes this process run code of theirs shall find no credentials in it.
    for name in [name for name in os.environ if name.startswith(STORE_PREFIX)]:
        del os.environ[name]
    if await asyncio.to_thread(_holds, folder, path.rpartition("/")[2]):
        logs.info("the bundle is here already", path=path)
        return
    logs.info(DOWNLOADING, store=url, path=path)
    begin = time.perf_counter()
    try:
        async with store:
            manifest = await store.get(path, folder)
    except OSError as error:
        if is_full(error):
            raise no_space(error) from error
        raise
    size = sum(record.size_bytes for record in manifest.files)
    logs.info("downloaded", bytes=size, seconds=round(time.perf_counter() - begin, 3))


def _holds(folder: Path, revision: str) -> bool:
    try:
        return read_bundle(folder).revision == revision
    except ManifestError:
        return False
