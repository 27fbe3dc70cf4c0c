"""Indices: gathers, one-hot encodings and the largest elements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from tf2onnx import utils
from tf2onnx.handler import tf_op
from tf2onnx.onnx_opset import tensor

from keras_pipeline.onnx_rewrites.builder import Builder

REWRITES: Final[Mapping[str, str]] = {
    "GatherV2": "ONNX counts a negative index from the end; TensorFlow rejects it",
    "OneHot": "ONNX counts a negative index from the end; Keras answers a row without a one",
    "TopKV2": "tf2onnx orders integers as float32, which has no odd numbers beyond 24 bits",
}
"""The TensorFlow operations that are rewritten, and why."""


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


@tf_op("TopKV2")
class TopK:
    """The largest elements, of integers in their own type."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **options: Any) -> None:
        """Rewrite the node."""
        if ctx.get_dtype(node.input[0]) not in (TensorProto.INT32, TensorProto.INT64):
            node.type = "TopK"
            tensor.TopKV2.version_11(ctx, node, **options)
            return
        values, count = node.input
        shapes, (value_type, index_type) = node.output_shapes, node.output_dtypes
        new = Builder(ctx, node)
        rows = new.op("Unsqueeze", new.cast(count, TensorProto.INT64), new.const([0], np.int64))
        value_output, index_output = node.output
        ctx.remove_node(node.name)
        indices = utils.make_name("indices")
        ctx.make_node(
            "TopK",
            [values, rows],
            attr={"axis": -1, "largest": 1, "sorted": 1},
            outputs=[value_output, indices],
            shapes=shapes,
            dtypes=[value_type, TensorProto.INT64],
        )
        options = {"outputs": [index_output], "shapes": shapes[1:], "dtypes": [index_type]}
        ctx.make_node("Cast", [indices], attr={"to": index_type}, **options)
