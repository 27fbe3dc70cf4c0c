"""Comparisons and choices, which tf2onnx computes in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from tf2onnx.handler import tf_op

from keras_pipeline.onnx_rewrites.builder import Builder

REWRITES: Final[Mapping[str, str]] = {
    "Bitcast": "ONNX has no bitcast; the sign bit, for which Keras's argmax asks, is computed by comparisons",
    "Greater": "tf2onnx compares integers as float32, which has no odd numbers beyond 24 bits",
    "GreaterEqual": "the same; and tf2onnx answers true for NaN",
    "Less": "tf2onnx compares integers as float32, which has no odd numbers beyond 24 bits",
    "LessEqual": "the same; and tf2onnx answers true for NaN",
    "Select": "tf2onnx multiplies with the condition, so NaN and infinities of the other branch come through",
    "SelectV2": "tf2onnx multiplies with the condition, so NaN and infinities of the other branch come through",
}
"""The TensorFlow operations that are rewritten, and why."""

_COMPARISONS = {
    "Greater": "Greater",
    "GreaterEqual": "GreaterOrEqual",
    "Less": "Less",
    "LessEqual": "LessOrEqual",
}
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}


@tf_op(list(_COMPARISONS))
class Comparison:
    """The comparison of ONNX, in a type that has all numbers of the operands' type."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        # In a loop, tf2onnx gives the counter another type than the limit has.
        dtypes = {ctx.get_dtype(operand) for operand in node.input}
        if dtypes == {TensorProto.DOUBLE}:
            common = TensorProto.DOUBLE
        elif dtypes <= _FLOATS:
            common = TensorProto.FLOAT
        elif TensorProto.UINT64 in dtypes or dtypes & {*_FLOATS, TensorProto.DOUBLE}:
            raise ValueError(f"{node.type} has no counterpart in ONNX Runtime for these types")
        else:
            common = TensorProto.INT64
        new.replace(_COMPARISONS[node.type], *(new.cast(operand, common) for operand in node.input))


@tf_op(["Select", "SelectV2"])
class Select:
    """A choice that ignores what the other branch contains."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        condition, x, y = node.input
        rank = ctx.get_rank(x)
        if node.type == "Select" and ctx.get_rank(condition) == 1 and rank != 1:
            if rank is None:
                raise ValueError("Select of rows needs operands of a known rank")
            condition = new.op("Unsqueeze", condition, new.const(range(1, rank), np.int64))
        if ctx.get_dtype(x) == TensorProto.BOOL:  # ONNX Runtime has no Where for it
            new.replace("Or", new.op("And", condition, x), new.op("And", new.op("Not", condition), y))
        else:
            new.replace("Where", condition, x, y)


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
