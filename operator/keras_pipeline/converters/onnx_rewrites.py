"""Handlers for TensorFlow operations that tf2onnx converts wrongly, or not at all.

tf2onnx calls the method of the highest opset, up to that of the conversion, so `version_18` replaces its own handlers.
An error of a handler makes TensorFlow serve the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from tf2onnx import utils
from tf2onnx.handler import tf_op
from tf2onnx.onnx_opset import tensor

REWRITES: Final[Mapping[str, str]] = {
    "Bitcast": "ONNX has no bitcast; the sign bit, for which Keras's argmax asks, is computed by comparisons",
    "Erfc": "ONNX has no Erfc; TensorFlow's optimiser makes it from the exact GELU",
    "FloorDiv": "ONNX divides integers towards zero; Keras rounds down",
    "FloorMod": "tf2onnx computes the remainder of a division towards zero; Keras's has the sign of the divisor",
    "GatherV2": "ONNX counts a negative index from the end; TensorFlow rejects it",
    "OneHot": "ONNX counts a negative index from the end; Keras answers a row without a one",
    "ResizeBilinear": "ONNX Runtime computes other weights for some sizes; gathers repeat TensorFlow's float32 steps",
    "ResizeNearestNeighbor": "ONNX Runtime rounds the position of some pixels otherwise; gathers take Keras's pixels",
}
"""The TensorFlow operations that are rewritten, and why."""

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
_UNSIGNED = {TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}


class Builder:
    """Makes the nodes that replace one node."""

    def __init__(self, graph: Any, node: Any) -> None:
        self.graph, self.node = graph, node
        self._outputs, self._shapes, self._dtypes = node.output, node.output_shapes, node.output_dtypes

    def const(self, value: Any, dtype: Any) -> str:
        """A constant."""
        name: str = self.graph.make_const(utils.make_name("const"), np.array(value, dtype=dtype)).output[0]
        return name

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """The output of a new node."""
        name: str = self.graph.make_node(op_type, list(inputs), attr=attributes).output[0]
        return name

    def cast(self, value: str, onnx_type: int) -> str:
        """A value in another type."""
        return self.op("Cast", value, to=onnx_type)

    def replace(self, op_type: str, *inputs: str, **attributes: Any) -> None:
        """Put a new node in place of the old one, under the name of its output."""
        self.graph.remove_node(self.node.name)
        self.graph.make_node(
            op_type, list(inputs), attr=attributes, outputs=self._outputs, shapes=self._shapes, dtypes=self._dtypes
        )


@tf_op("Erfc")
class Erfc:
    """1 - Erf."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        one = new.const(1.0, utils.map_onnx_to_numpy_type(ctx.get_dtype(node.input[0])))
        new.replace("Sub", one, new.op("Erf", node.input[0]))


@tf_op("FloorDiv")
class FloorDiv:
    """A division that rounds down."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x, y = node.input
        dtype = ctx.get_dtype(x)
        if dtype in _FLOATS:
            new.replace("Floor", new.op("Div", x, y))
            return
        _require_safe_divisor(node)
        if dtype in _UNSIGNED:
            new.replace("Div", x, y)
            return
        zero = new.const(0, utils.map_onnx_to_numpy_type(dtype))
        quotient = new.op("Div", x, y)
        rest = new.op("Sub", x, new.op("Mul", quotient, y))
        opposite = new.op("Xor", new.op("Less", rest, zero), new.op("Less", y, zero))
        rounded_up = new.op("And", new.op("Not", new.op("Equal", rest, zero)), opposite)
        new.replace("Sub", quotient, new.cast(rounded_up, dtype))


@tf_op("FloorMod")
class FloorMod:
    """A remainder that has the sign of the divisor."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x, y = node.input
        dtype = ctx.get_dtype(x)
        if dtype not in _FLOATS:
            _require_safe_divisor(node)
            new.replace("Mod", x, y, fmod=0)
            return
        # As TensorFlow: the remainder of the division towards zero, moved by one divisor where the signs differ.
        zero = new.const(0, utils.map_onnx_to_numpy_type(dtype))
        rest = new.op("Mod", x, y, fmod=1)
        opposite = new.op("Xor", new.op("Less", rest, zero), new.op("Less", y, zero))
        moved = new.op("And", new.op("Not", new.op("Equal", rest, zero)), opposite)
        new.replace("Where", moved, new.op("Add", rest, y), rest)


def _require_safe_divisor(node: Any) -> None:
    """An integer division is converted only with a constant divisor that cannot fail.

    TensorFlow rejects a division by zero with an error. ONNX has no such error; and the result of the smallest integer
    divided by -1 does not exist.
    """
    divisor = node.inputs[1]
    if not divisor.is_const() or np.isin(divisor.get_tensor_value(as_list=False), (0, -1)).any():
        raise ValueError(f"{node.type} of integers needs a constant divisor other than 0 and -1")


@tf_op("GatherV2")
class GatherV2:
    """A gather that fails on a negative index."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **options: Any) -> None:
        """Rewrite the node."""
        indices = node.inputs[1]
        if not indices.is_const():
            new = Builder(ctx, node)
            index_type = utils.map_onnx_to_numpy_type(ctx.get_dtype(node.input[1]))
            negative = new.op("Less", node.input[1], new.const(0, index_type))
            beyond = new.const(np.iinfo(index_type).max, index_type)
            ctx.replace_input(node, node.input[1], new.op("Where", negative, beyond, node.input[1]), 1)
        tensor.GatherV2.version_12(ctx, node, **options)


@tf_op("OneHot")
class OneHot:
    """Compares each index with 0 to depth - 1; an index outside gives a row of `off` values."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        indices, depth, on, off = node.input
        axis = node.get_attr_value("axis", -1)
        dtype = ctx.get_dtype(on)
        if axis < 0:
            axis, trailing = -1, 0
        else:
            rank = ctx.get_rank(indices)
            if rank is None:
                raise ValueError("OneHot over an inner axis needs indices of a known rank")
            trailing = rank - axis
        positions = new.op(
            "Range",
            new.const(0, np.int64),
            new.op("Squeeze", new.cast(depth, TensorProto.INT64)),
            new.const(1, np.int64),
        )
        if trailing:
            positions = new.op("Unsqueeze", positions, new.const(range(1, trailing + 1), np.int64))
        spread = new.op("Unsqueeze", new.cast(indices, TensorProto.INT64), new.const([axis], np.int64))
        hits = new.op("Equal", spread, positions)
        if node.inputs[2].get_tensor_value() == 1 and node.inputs[3].get_tensor_value() == 0:
            new.replace("Cast", hits, to=dtype)
        else:
            new.replace("Where", hits, on, off)


@tf_op("Bitcast")
class Bitcast:
    """The sign bit of float32 numbers, which is all that Keras asks for: 0 or the smallest integer."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node, if its bits are used for the sign only."""
        users = ctx.find_output_consumers(node.output[0])
        if ctx.get_dtype(node.input[0]) != TensorProto.FLOAT or not all(map(_takes_sign_bit, users)):
            raise ValueError("Bitcast has no counterpart in ONNX")
        new = Builder(ctx, node)
        x, zero = node.input[0], new.const(0.0, np.float32)
        # -0.0 equals 0.0, but its reciprocal is negative.
        negative_zero = new.op("And", new.op("Equal", x, zero), new.op("Less", new.op("Reciprocal", x), zero))
        negative = new.op("Or", new.op("Less", x, zero), negative_zero)
        new.replace("Where", negative, new.const(_SIGN_BIT, np.int32), new.const(0, np.int32))


_SIGN_BIT = np.iinfo(np.int32).min


def _takes_sign_bit(node: Any) -> bool:
    return node.type in {"BitwiseAnd", "BitAnd"} and any(
        each.is_const() and np.array_equal(each.get_tensor_value(as_list=False), _SIGN_BIT) for each in node.inputs
    )


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
