"""What a converter reads and what it returns."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Export(NamedTuple):
    """A model as a SavedModel, the common source of all conversions.

    Attributes:
        folder: of the SavedModel.
        input_bindings: the signature's argument for each input that it calls otherwise (see `saved_model.export`).
    """

    folder: Path
    input_bindings: dict[str, str]


class RuntimeFiles(NamedTuple):
    """A model in the format of a runtime.

    Attributes:
        path: the runtime's file or folder.
        input_bindings: the runtime's name of each input that it calls otherwise.
    """

    path: Path
    input_bindings: dict[str, str]
