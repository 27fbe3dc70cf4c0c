"""Resizing of images, computed by gathers in TensorFlow's own float32 steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from tf2onnx.handler import tf_op

from keras_pipeline.onnx_rewrites.builder import Builder

REWRITES: Final[Mapping[str, str]] = {
    "ResizeBilinear": "ONNX Runtime computes other weights for some sizes",
    "ResizeNearestNeighbor": "ONNX Runtime takes other pixels for some sizes",
}
"""The TensorFlow operations that are rewritten, and why."""


@tf_op("ResizeNearestNeighbor")
class ResizeNearestNeighbor:
    """Takes the pixel that TensorFlow takes, by its own float32 arithmetic."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        image, size = node.input
        for axis in (1, 2):
            position, last = _positions(new, node, image, size, axis, centred=False)
            rounded = new.op("Floor", position)
            index = new.op("Min", new.cast(rounded, TensorProto.INT64), last)
            if axis == 1:
                image = new.op("Gather", image, index, axis=axis)
            else:
                new.replace("Gather", image, index, axis=axis)


@tf_op("ResizeBilinear")
class ResizeBilinear:
    """Interpolates between the neighbours that TensorFlow takes, first along the width, then along the height."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        image, size = node.input
        if ctx.get_dtype(image) != TensorProto.FLOAT:
            image = new.cast(image, TensorProto.FLOAT)  # the result is float32 for every type
        for axis in (2, 1):
            position, last = _positions(new, node, image, size, axis, centred=True)
            floor = new.op("Floor", position)
            lower = new.op("Max", new.cast(floor, TensorProto.INT64), new.const(0, np.int64))
            upper = new.op("Min", new.cast(new.op("Ceil", position), TensorProto.INT64), last)
            weight = new.op("Unsqueeze", new.op("Sub", position, floor), new.const(_TRAILING[axis], np.int64))
            first = new.op("Gather", image, lower, axis=axis)
            second = new.op("Gather", image, upper, axis=axis)
            step = new.op("Mul", new.op("Sub", second, first), weight)
            if axis == 2:
                image = new.op("Add", first, step)
            else:
                new.replace("Add", first, step)


@tf_op(["ResizeBicubic", "ResizeArea"])
class ResizeOther:
    """Left to TensorFlow: ONNX Runtime weights pixels otherwise, and refuses some sizes only when it runs."""

    @classmethod
    def version_18(cls, _: Any, node: Any, **__: Any) -> None:
        """Refuse the node."""
        raise ValueError(f"{node.type} has no exact counterpart in ONNX")


# Axes to add behind the positions along an axis of a picture [batch, height, width, channels].
_TRAILING = {1: [1, 2], 2: [1]}


def _positions(new: Builder, node: Any, image: str, size: str, axis: int, *, centred: bool) -> tuple[str, str]:
    """The position in the source of each pixel of the result along an axis, in float32, and the last index there.

    TensorFlow computes it with the quotient of the sizes in float32, and so does this.
    """
    if node.get_attr_value("align_corners", 0):
        raise ValueError(f"{node.type} with align_corners has no counterpart in ONNX")
    source = new.op("Gather", new.op("Shape", image), new.const(axis, np.int64), axis=0)
    target = new.cast(new.op("Gather", size, new.const(axis - 1, np.int64), axis=0), TensorProto.INT64)
    scale = new.op("Div", new.cast(source, TensorProto.FLOAT), new.cast(target, TensorProto.FLOAT))
    steps = new.op("Range", new.const(0, np.int64), target, new.const(1, np.int64))
    pixel = new.cast(steps, TensorProto.FLOAT)
    last = new.op("Sub", source, new.const(1, np.int64))
    if not node.get_attr_value("half_pixel_centers", 0):
        return new.op("Mul", pixel, scale), last
    half = new.const(0.5, np.float32)
    position = new.op("Mul", new.op("Add", pixel, half), scale)
    return (new.op("Sub", position, half) if centred else position), last
