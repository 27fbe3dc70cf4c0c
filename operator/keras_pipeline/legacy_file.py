"""Gives Keras a file whose configuration it loads: the file itself, or a temporary copy with the new configuration."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from keras_pipeline.model_file import CHUNK_BYTES, CONFIG, ModelFile


@contextmanager
def loadable(path: Path, file: ModelFile) -> Iterator[Path]:
    """The path of a file that Keras 3 loads. The original is not changed.

    Args:
        path: the original.
        file: its content. The copy has its configuration.
    """
    if not file.rewritten:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, f"model.{file.format}")
        config = json.dumps(file.config).encode()
        if file.format == "keras":
            _copy_zip(path, copy, config)
        else:
            shutil.copyfile(path, copy)
            with h5py.File(copy, "r+") as hdf5:
                hdf5.attrs["model_config"] = config
        yield copy


def _copy_zip(path: Path, copy: Path, config: bytes) -> None:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for info in source.infolist():
            if info.filename == CONFIG:
                target.writestr(CONFIG, config)
            elif not info.is_dir():
                with source.open(info) as member, target.open(info.filename, "w", force_zip64=True) as written:
                    shutil.copyfileobj(member, written, CHUNK_BYTES)
