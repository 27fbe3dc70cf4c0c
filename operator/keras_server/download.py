"""Downloads the bundle from the store into its folder."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

from keras_api.log_events import LogEvent
from keras_api.logs import fields
from keras_api.manifest import ManifestError
from keras_store.atomic_file import is_full
from keras_store.bundles.folder import read_bundle
from keras_store.bundles.open import bundle_store
from keras_store.errors import no_space
from keras_store.store_access import STORE_PREFIX

log = logging.getLogger(__name__)


async def download(url: str, path: str, folder: Path) -> None:
    """Download a bundle into a folder, and check every file.

    A container that starts again finds the bundle of its predecessor in the folder, and does not need the store.

    Args:
        url: of the store.
        path: of the bundle, in the store.
        folder: where to.

    Raises:
        StepError: StoreUnavailable, BundleInvalid, or VolumeUnavailable.
    """
    store = bundle_store(url, os.environ)
    # Code that an attacker makes this process run must not find credentials.
    for name in [name for name in os.environ if name.startswith(STORE_PREFIX)]:
        del os.environ[name]
    if await asyncio.to_thread(_contains, folder, path.rpartition("/")[2]):
        log.info("the folder has the bundle already", extra=fields(path=path))
        return
    log.info("downloading the bundle", extra=fields(event=LogEvent.BUNDLE_DOWNLOAD, store=url, path=path))
    begin = time.perf_counter()
    try:
        async with store:
            manifest = await store.get(path, folder)
    except OSError as error:
        if is_full(error):
            raise no_space(error) from error
        raise
    size = sum(record.size_bytes for record in manifest.files)
    seconds = round(time.perf_counter() - begin, 3)
    log.info("downloaded the bundle", extra=fields(bytes=size, seconds=seconds))


def _contains(folder: Path, revision: str) -> bool:
    try:
        return read_bundle(folder).revision == revision
    except ManifestError:
        return False
