"""Arithmetic of integers, which ONNX Runtime computes in another way or in floating point, and missing functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from onnx import TensorProto
from tf2onnx import utils
from tf2onnx.handler import tf_op

from keras_pipeline.onnx_rewrites.builder import Builder

REWRITES: Final[Mapping[str, str]] = {
    "Erfc": "ONNX has no Erfc; TensorFlow's optimiser makes it from the exact GELU",
    "Expm1": "ONNX has no Expm1",
    "FloorDiv": "ONNX divides integers towards zero; Keras rounds down",
    "FloorMod": "tf2onnx computes the remainder of a division towards zero; Keras's has the sign of the divisor",
    "Log1p": "ONNX has no Log1p",
    "Maximum": "ONNX Runtime compares some int64 numbers beyond 32 bits wrongly",
    "Minimum": "ONNX Runtime compares some int64 numbers beyond 32 bits wrongly",
    "Pow": "ONNX Runtime computes powers of integers in floating point",
    "Relu": "ONNX Runtime clips some int64 numbers beyond 32 bits wrongly",
    "Relu6": "ONNX Runtime clips some int64 numbers beyond 32 bits wrongly",
    "Sign": "ONNX Runtime takes the sign of the lower half of an int64 number",
    "Softplus": "ONNX Runtime overflows in float16 where TensorFlow does not",
}
"""The TensorFlow operations that are rewritten, and why."""

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
_HALVES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
_UNSIGNED = {TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}
MAX_POWER = 16


@tf_op("Erfc")
class Erfc:
    """1 - Erf."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        one = new.const(1.0, utils.map_onnx_to_numpy_type(ctx.get_dtype(node.input[0])))
        new.replace("Sub", one, new.op("Erf", node.input[0]))


@tf_op("Expm1")
class Expm1:
    """tanh(x / 2) * (exp(x) + 1), which keeps the digits of small numbers that exp(x) - 1 loses."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x = node.input[0]
        half = new.op("Tanh", new.op("Mul", x, new.like(0.5, x)))
        new.replace("Mul", half, new.op("Add", new.op("Exp", x), new.like(1.0, x)))


@tf_op("Log1p")
class Log1p:
    """log(1 + x), multiplied for small numbers with the part of x that 1 + x keeps."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x = node.input[0]
        one = new.like(1.0, x)
        shifted = new.op("Add", x, one)
        plain = new.op("Log", shifted)
        kept = new.op("Div", x, new.op("Sub", shifted, one))
        corrected = new.op("Where", new.op("Greater", x, one), plain, new.op("Mul", plain, kept))
        new.replace("Where", new.op("Equal", shifted, one), x, corrected)


@tf_op("FloorDiv")
class FloorDiv:
    """A division that rounds down."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x, y = node.input
        dtype = ctx.get_dtype(x)
        if dtype in _HALVES:
            raise ValueError("FloorDiv in half precision is rounded before it is cut, which ONNX Runtime does not do")
        if dtype in _FLOATS:
            new.replace("Floor", new.op("Div", x, y))
            return
        _require_safe_divisor(node)
        if dtype in _UNSIGNED:
            new.replace("Div", x, y)
            return
        quotient = new.op("Div", x, y)
        rest = new.op("Sub", x, new.op("Mul", quotient, y))
        new.replace("Sub", quotient, new.cast(_is_rounded_up(new, rest, y), dtype))


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
        rest = new.op("Mod", x, y, fmod=1)
        new.replace("Where", _is_rounded_up(new, rest, y), new.op("Add", rest, y), rest)


def _is_rounded_up(new: Builder, rest: str, divisor: str) -> str:
    """Whether the quotient that left a rest was rounded up: the rest is not zero, and has the other sign."""
    zero = new.like(0, divisor)
    opposite = new.op("Xor", new.op("Less", rest, zero), new.op("Less", divisor, zero))
    return new.op("And", new.op("Not", new.op("Equal", rest, zero)), opposite)


def _require_safe_divisor(node: Any) -> None:
    """An integer division is converted only with a constant divisor that cannot fail.

    TensorFlow rejects a division by zero with an error. ONNX has no such error; and the result of the smallest integer
    divided by -1 does not exist.
    """
    divisor = node.inputs[1]
    if not divisor.is_const() or np.isin(divisor.get_tensor_value(as_list=False), (0, -1)).any():
        raise ValueError(f"{node.type} of integers needs a constant divisor other than 0 and -1")


@tf_op(["Maximum", "Minimum"])
class MaximumMinimum:
    """A comparison and a choice for int64; the operation of ONNX for all other types."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x, y = node.input
        if ctx.get_dtype(x) == TensorProto.INT64:
            new.replace("Where", new.op("Greater" if node.type == "Maximum" else "Less", x, y), x, y)
        else:
            new.replace("Max" if node.type == "Maximum" else "Min", x, y)


@tf_op("Relu")
class Relu:
    """A choice for int64, nothing for unsigned integers; the operation of ONNX for all other types."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x = node.input[0]
        dtype = ctx.get_dtype(x)
        if dtype in _UNSIGNED:
            new.replace("Identity", x)
        elif dtype == TensorProto.INT64:
            zero = new.like(0, x)
            new.replace("Where", new.op("Greater", x, zero), x, zero)
        else:
            new.replace("Relu", x)


@tf_op("Relu6")
class Relu6:
    """Two choices for int64; a clip for all other types."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x = node.input[0]
        zero, six = new.like(0, x), new.like(6, x)
        if ctx.get_dtype(x) == TensorProto.INT64:
            positive = new.op("Where", new.op("Greater", x, zero), x, zero)
            new.replace("Where", new.op("Less", positive, six), positive, six)
        else:
            new.replace("Clip", x, zero, six)


@tf_op("Sign")
class Sign:
    """The difference of two comparisons for int64; the operation of ONNX for all other types."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x = node.input[0]
        dtype = ctx.get_dtype(x)
        if dtype == TensorProto.INT64:
            zero = new.like(0, x)
            new.replace("Sub", new.cast(new.op("Greater", x, zero), dtype), new.cast(new.op("Less", x, zero), dtype))
        else:
            new.replace("Sign", x)


@tf_op("Pow")
class Pow:
    """Products for a constant power of integers, which overflow as in TensorFlow."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x, exponent = node.input
        dtype = ctx.get_dtype(x)
        if dtype in _FLOATS:
            new.replace("Pow", x, exponent)
            return
        power = node.inputs[1].get_tensor_value(as_list=False) if node.inputs[1].is_const() else None
        if power is None or power.size != 1 or not 1 <= power.item() <= MAX_POWER:
            raise ValueError(f"Pow of integers needs a constant exponent from 1 to {MAX_POWER}")
        product = x
        for _factor in range(power.item() - 1):
            product = new.op("Mul", product, x)
        new.replace("Identity", product)


@tf_op("Softplus")
class Softplus:
    """Computed in float32 for float16."""

    @classmethod
    def version_18(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node."""
        new = Builder(ctx, node)
        x = node.input[0]
        if ctx.get_dtype(x) == TensorProto.FLOAT16:
            new.replace("Cast", new.op("Softplus", new.cast(x, TensorProto.FLOAT)), to=TensorProto.FLOAT16)
        else:
            new.replace("Softplus", x)
