"""The converter for TensorFlow, which loads the export itself."""

from __future__ import annotations

from pathlib import Path

from keras_pipeline.converters.base import Export, RuntimeFiles


def convert(export: Export, target: Path) -> RuntimeFiles:
    """The export."""
    return RuntimeFiles(export.folder, export.input_bindings)
