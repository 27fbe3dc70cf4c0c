"""The bundle folder: its manifest, the files that it names, the runtime that runs them, and the golden rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_api.manifest import MANIFEST_NAME, Manifest, ManifestError, decode_manifest
from keras_runtimes.base import ConvertedModel, ModelLoadError, Runtime
from keras_runtimes.golden import Golden, GoldenError, read_golden
from keras_runtimes.registry import RUNTIMES


class BundleError(Exception):
    """A bundle that cannot be served; the text gives the reason."""


@dataclass(frozen=True)
class Bundle:
    """A bundle folder whose files exist, in their declared sizes."""

    directory: Path
    manifest: Manifest

    def load(self, *, threads: int) -> Runtime:
        """Load the model into its runtime.

        Args:
            threads: threads that may work on one inference.

        Raises:
            BundleError: this server does not have the runtime, or the runtime cannot load the files.
        """
        manifest = self.manifest
        info = RUNTIMES.get(manifest.model.runtime)
        if info is None:
            raise BundleError(
                f"the bundle needs the runtime {manifest.model.runtime!r}; this server has {', '.join(RUNTIMES)}"
            )
        model = ConvertedModel(
            self.directory / manifest.entry,
            manifest.model.inputs,
            manifest.model.outputs,
            manifest.input_bindings,
            manifest.output_bindings,
        )
        try:
            return info.load(model, threads=threads)
        except ModelLoadError as error:
            raise BundleError(f"the bundle in {self.directory} is invalid: {error}") from error

    def golden(self) -> Golden:
        """The golden rows.

        Raises:
            BundleError: the golden file cannot be used.
        """
        try:
            return read_golden(self.directory, self.manifest.model)
        except GoldenError as error:
            raise BundleError(f"the bundle in {self.directory} is invalid: {error}") from error


def open_bundle(directory: Path) -> Bundle:
    """Read a bundle's manifest and check that every file exists in its size.

    Hashes are not compared: the download has checked them.

    Raises:
        BundleError: the manifest is missing or invalid, or a file is missing or truncated.
    """
    try:
        manifest = decode_manifest((directory / MANIFEST_NAME).read_bytes())
    except OSError as error:
        raise BundleError(
            f"{directory} is not a bundle folder: cannot read its {MANIFEST_NAME}: {error.strerror}"
        ) from error
    except ManifestError as error:
        raise BundleError(f"the bundle in {directory} is invalid: {error}") from error
    for record in manifest.files:
        try:
            size = (directory / record.path).stat().st_size
        except OSError as error:
            raise BundleError(f"the bundle in {directory} has no {record.path}: {error.strerror}") from error
        if size != record.size_bytes:
            raise BundleError(
                f"{record.path} in {directory} has {size} bytes; its manifest declares {record.size_bytes}: "
                "download the bundle again"
            )
    return Bundle(directory, manifest)
