"""Writes a loaded model as a TensorFlow SavedModel with the signature `serve`, which runs without Keras."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import keras
import tensorflow as tf

from keras_api.manifest import Tensor
from keras_pipeline.loading import LoadedModel

SIGNATURE = "serve"


def export(model: LoadedModel, folder: Path) -> dict[str, str]:
    """Write the SavedModel.

    `training=False` (see `LoadedModel`) keeps the random operations of dropout and augmentation out of the graph.

    Returns:
        The signature's argument for each input whose name cannot be an argument. Outputs keep their names.
    """
    arguments = argument_names([tensor.name for tensor in model.inputs])
    signature = [_spec(tensor, argument) for tensor, argument in zip(model.inputs, arguments, strict=True)]
    archive = keras.export.ExportArchive()
    archive.track(model.keras)
    archive.add_endpoint(SIGNATURE, model.__call__, input_signature=signature)
    archive.write_out(str(folder), verbose=False)
    return {t.name: argument for t, argument in zip(model.inputs, arguments, strict=True) if t.name != argument}


def argument_names(names: list[str]) -> list[str]:
    """The names, if TensorFlow keeps all of them as arguments of a signature; else input_0, input_1, ..."""

    def kept(name: str) -> bool:
        # A signature has its names in lower case.
        is_identifier = re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None
        return is_identifier and not keyword.iskeyword(name) and name != "self"

    if all(map(kept, names)):
        return names
    return [f"input_{index}" for index in range(len(names))]


def _spec(tensor: Tensor, argument: str) -> tf.TensorSpec:
    return tf.TensorSpec([None if size < 0 else size for size in tensor.shape], tensor.dtype, name=argument)
