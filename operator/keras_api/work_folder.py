"""The work folder that the steps fetch, prepare and put of a prepare Job share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MODEL_SUFFIXES = (".keras", ".h5")


@dataclass(frozen=True)
class WorkFolder:
    """Layout of the folder::

        source/model.keras (or .h5)    written by fetch
        source/validation.csv          written by fetch, if the request has a validation
        source/record.json             written by fetch: a `keras_api.manifest.SourceRecord`
        bundle/                        written by prepare, read by put (see keras_api.manifest)

    If the store has the bundle already, fetch writes no source, and only the manifest of the bundle.
    """

    path: Path

    @property
    def source(self) -> Path:
        """The folder with the files of the source."""
        return self.path / "source"

    def model(self, suffix: str) -> Path:
        """The model file with one of MODEL_SUFFIXES."""
        return self.source / f"model{suffix}"

    @property
    def validation(self) -> Path:
        """The validation set."""
        return self.source / "validation.csv"

    @property
    def record(self) -> Path:
        """The source, version and digest of the model file, as JSON."""
        return self.source / "record.json"

    @property
    def bundle(self) -> Path:
        """The folder of the bundle."""
        return self.path / "bundle"
