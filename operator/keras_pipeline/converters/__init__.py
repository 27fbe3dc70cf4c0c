"""Converters: from a model's SavedModel export to the files of a runtime.

The converter to a runtime is the module of this package that has the runtime's name (`keras_runtimes.registry`).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from keras_pipeline.converters.base import Export, RuntimeFiles


def convert(runtime: str, export: Export, target: Path) -> RuntimeFiles:
    """Convert a model to the format of a runtime.

    Args:
        runtime: the runtime's name.
        export: the model.
        target: an empty place for the runtime's file or folder.

    Raises:
        ConversionError: the runtime has no counterpart for a part of the model.
    """
    files: RuntimeFiles = import_module(f"keras_pipeline.converters.{runtime}").convert(export, target)
    return files
