"""The bundle folder: its manifest, the files that it names, and the golden inputs with their expected outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_api.manifest import GOLDEN_NAME, MANIFEST_NAME, Manifest, ManifestError, decode_manifest
from keras_server.dtypes import DTYPES, Array, string_array


class BundleError(Exception):
    """A bundle that cannot be served; the text says why."""


@dataclass(frozen=True)
class Golden:
    """Inputs and the outputs that Keras gave for them, by name; all with the same number of rows."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]


@dataclass(frozen=True)
class Bundle:
    """A bundle folder whose files are there, in their declared sizes."""

    directory: Path
    manifest: Manifest

    @property
    def entry(self) -> Path:
        """The runtime's file or folder."""
        return self.directory / self.manifest.entry


def open_bundle(directory: Path) -> Bundle:
    """Read a bundle's manifest and see that every file is there.

    Sizes are compared, hashes are not: whoever put the bundle into the folder has checked them.

    Raises:
        BundleError: no manifest, one that cannot be read, or files that are missing or cut short.
    """
    try:
        manifest = decode_manifest((directory / MANIFEST_NAME).read_bytes())
    except OSError as error:
        raise BundleError(
            f"{directory} is not a bundle folder: cannot read its {MANIFEST_NAME}: {error.strerror}"
        ) from error
    except ManifestError as error:
        raise BundleError(f"the bundle in {directory} cannot be served: {error}") from error
    for record in manifest.files:
        try:
            size = (directory / record.path).stat().st_size
        except OSError as error:
            raise BundleError(f"the bundle in {directory} lacks {record.path}: {error.strerror}") from error
        if size != record.size_bytes:
            raise BundleError(
                f"{record.path} in {directory} has {size} bytes, its manifest says {record.size_bytes}: "
                "fetch the bundle again"
            )
    return Bundle(directory, manifest)


def read_golden(bundle: Bundle) -> Golden:
    """The golden inputs and outputs, strings as `bytes`.

    Raises:
        BundleError: when the file cannot be read, or lacks one of the model's tensors.
    """
    model = bundle.manifest.model
    try:
        with np.load(bundle.directory / GOLDEN_NAME, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        inputs = {t.name: _typed(arrays[f"input:{t.name}"], t.dtype) for t in model.inputs}
        outputs = {t.name: _typed(arrays[f"output:{t.name}"], t.dtype) for t in model.outputs}
    except KeyError as error:
        raise BundleError(f"{GOLDEN_NAME} in {bundle.directory} lacks {error.args[0]!r}") from error
    except Exception as error:  # numpy, zipfile and zlib raise all kinds for a broken archive
        raise BundleError(f"cannot read {GOLDEN_NAME} in {bundle.directory}: {error}") from error
    return Golden(inputs, outputs)


def _typed(array: Array, dtype: str) -> Array:
    if dtype == "string":
        return string_array(array)
    if array.dtype != DTYPES[dtype].numpy:
        raise ValueError(f"it holds {array.dtype} where the manifest says {dtype}")
    return array
