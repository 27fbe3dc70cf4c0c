"""Handlers for TensorFlow operations that tf2onnx or ONNX Runtime compute differently from Keras, or not at all.

tf2onnx calls the method of the highest opset, up to that of the conversion, so `version_18` replaces its own handlers.
An error of a handler makes TensorFlow serve the model. `make parity` finds the operations that need a handler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keras_pipeline.onnx_rewrites import arithmetic, indexing, logic, resizing

REWRITES: Final[Mapping[str, str]] = {
    **arithmetic.REWRITES,
    **indexing.REWRITES,
    **logic.REWRITES,
    **resizing.REWRITES,
}
"""The TensorFlow operations that are rewritten, and why."""
