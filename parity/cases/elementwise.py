"""Operations of keras.ops on single values: each edge value, or pair of them, is a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from parity.edges import ALL, FLOATS, INTEGERS, NUMBERS, pairwise, pointwise
from parity.model import Case, InputSpec

_UNARY = {
    **dict.fromkeys(
        (
            *(
                "abs",
                "absolute",
                "fabs",
                "negative",
                "positive",
                "sign",
                "square",
                "sqrt",
                "rsqrt",
                "reciprocal",
                "cbrt",
            ),
            *(
                "exp",
                "exp2",
                "expm1",
                "log",
                "log10",
                "log1p",
                "log2",
                "sin",
                "cos",
                "tan",
                "sinc",
                "sinh",
                "cosh",
                "tanh",
            ),
            *("arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "ceil", "floor", "round", "trunc"),
            *("deg2rad", "rad2deg", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "isreal", "logical_not"),
            *("nan_to_num", "copy", "conj", "conjugate", "real", "imag", "angle", "i0", "stop_gradient"),
            *("ones_like", "zeros_like", "relu", "relu6", "sigmoid", "softplus", "softsign"),
        ),
        ALL,
    ),
    **dict.fromkeys(
        (
            *("silu", "swish", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "hard_shrink", "soft_shrink"),
            *("tanh_shrink", "celu", "elu", "selu", "gelu", "leaky_relu", "log_sigmoid", "squareplus", "sparse_plus"),
            *("sparse_sigmoid", "erf", "erfc", "erfinv", "signbit"),
        ),
        FLOATS,
    ),
    **dict.fromkeys(("bitwise_invert", "bitwise_not"), INTEGERS),
}
_UNARY.pop("positive", None)

# A variant with arguments: operation, words, function, types.
_VARIANTS: list[tuple[str, str, Callable[..., Any], tuple[str, ...]]] = [
    ("gelu", "approximate=False", lambda x: ops.gelu(x, approximate=False), FLOATS),
    ("celu", "alpha=0.5", lambda x: ops.celu(x, alpha=0.5), FLOATS),
    ("elu", "alpha=0.5", lambda x: ops.elu(x, alpha=0.5), FLOATS),
    ("leaky_relu", "negative_slope=0.01", lambda x: ops.leaky_relu(x, 0.01), FLOATS),
    ("round", "decimals=2", lambda x: ops.round(x, 2), ("float32", "int32")),
    ("round", "decimals=-1", lambda x: ops.round(x, -1), ("float32", "int32")),
    ("threshold", "0.5, 2", lambda x: ops.threshold(x, 0.5, 2.0), FLOATS),
    ("clip", "-1, 1", lambda x: ops.clip(x, -1, 1), NUMBERS),
    ("clip", "2, 5", lambda x: ops.clip(x, 2, 5), NUMBERS),
    ("nan_to_num", "nan=1, posinf=2, neginf=3", lambda x: ops.nan_to_num(x, 1.0, 2.0, 3.0), FLOATS),
    ("full_like", "7", lambda x: ops.full_like(x, 7), NUMBERS),
    ("heaviside", "0.5", lambda x: ops.heaviside(x, 0.5), FLOATS),
    ("digitize", "4 bins", lambda x: ops.digitize(x, np.array([-2.0, 0.0, 1.0, 10.0], "float32")), FLOATS),
    ("digitize", "3 bins", lambda x: ops.digitize(x, np.array([-2, 0, 10])), ("int32",)),
    ("searchsorted", "left", lambda x: ops.searchsorted(np.array([-2.0, 0.0, 1.0], "float32"), x), ("float32",)),
    (
        *("searchsorted", "right"),
        lambda x: ops.searchsorted(np.array([-2.0, 0.0, 1.0], "float32"), x, side="right"),
        ("float32",),
    ),
    ("isin", "3 values", lambda x: ops.isin(x, np.array([0, 1, 7])), ("int32", "int64")),
    ("isin", "3 values, invert", lambda x: ops.isin(x, np.array([0.0, 1.0], "float32"), invert=True), ("float32",)),
    ("isin", "assume_unique", lambda x: ops.isin(x, np.array([0, 1, 7]), assume_unique=True), ("int32",)),
    ("floor_divide", "by 3", lambda x: ops.floor_divide(x, 3), NUMBERS),
    ("floor_divide", "by -3", lambda x: ops.floor_divide(x, -3), ("int32", "int64", "float32")),
    ("mod", "by 3", lambda x: ops.mod(x, 3), NUMBERS),
    ("mod", "by -3", lambda x: ops.mod(x, -3), ("int32", "int64", "float32")),
    ("fmod", "by 3", lambda x: ops.fmod(x, 3), NUMBERS),
    ("fmod", "by -3", lambda x: ops.fmod(x, -3), ("int32", "int64", "float32")),
    ("divide", "by 3", lambda x: ops.divide(x, 3), NUMBERS),
    ("power", "2", lambda x: ops.power(x, 2), NUMBERS),
    ("power", "0.5", lambda x: ops.power(x, 0.5), FLOATS),
    ("power", "-1", lambda x: ops.power(x, -1.0), FLOATS),
    ("left_shift", "3", lambda x: ops.left_shift(x, 3), INTEGERS),
    ("right_shift", "3", lambda x: ops.right_shift(x, 3), INTEGERS),
    ("bitwise_left_shift", "1", lambda x: ops.bitwise_left_shift(x, 1), INTEGERS),
    ("bitwise_right_shift", "1", lambda x: ops.bitwise_right_shift(x, 1), INTEGERS),
    ("bitwise_and", "5", lambda x: ops.bitwise_and(x, 5), INTEGERS),
    ("gcd", "12", lambda x: ops.gcd(x, 12), ("int32", "int64")),
    ("lcm", "12", lambda x: ops.lcm(x, 12), ("int32",)),
    ("ldexp", "3", lambda x: ops.ldexp(x, 3), FLOATS),
]

_CASTS = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool")

_BINARY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("add", "subtract", "multiply", "maximum", "minimum"), NUMBERS),
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), NUMBERS),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), ("bool", "float32", "int32")),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), INTEGERS),
    **dict.fromkeys(("divide", "true_divide", "divide_no_nan"), ("float32", "float16", "int32", "int64", "uint8")),
    **dict.fromkeys(("arctan2", "hypot", "logaddexp", "logaddexp2", "fmax", "fmin"), ("float32", "float16", "int32")),
    **dict.fromkeys(("floor_divide", "mod", "fmod"), FLOATS),
    **dict.fromkeys(("heaviside", "nextafter"), ("float32",)),
    **dict.fromkeys(("power",), ("float32", "float16", "int32")),
    **dict.fromkeys(("isclose",), FLOATS),
    **dict.fromkeys(("gcd", "lcm"), ("int32",)),
}
_MIXED = (("int32", "float32"), ("int64", "int32"), ("uint8", "int32"), ("float16", "float32"), ("bool", "float32"))

# Where a pair of integers has no answer, or a quotient is smaller than a normal number.
_DOMAINS: dict[str, Callable[[Any, Any], Any]] = {
    "power": lambda x, y: (x.dtype.kind == "f") | ((abs(y) <= 3) & (y >= 0) & (abs(x) <= 1000)),
    "floor_divide": lambda x, y: (x == 0) | (y == 0) | ~np.isfinite(y) | (abs(x / y) > _normal(x)),
    "mod": lambda x, y: (x == 0) | (y == 0) | ~np.isfinite(y) | (abs(x / y) > _normal(x)),
    "lcm": lambda x, y: (abs(x) < 1000) & (abs(y) < 1000),
    "left_shift": lambda x, y: (y >= 0) & (y < 8 * y.dtype.itemsize),
    "right_shift": lambda x, y: (y >= 0) & (y < 8 * y.dtype.itemsize),
}


def _normal(x: Any) -> float:
    return float(np.finfo(x.dtype).tiny)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    for name, dtypes in _UNARY.items():
        for dtype in dtypes:
            yield _unary(name, dtype, getattr(ops, name), dtype)
    for name, words, function, dtypes in _VARIANTS:
        for dtype in dtypes:
            yield _unary(name, f"{words}, {dtype}", function, dtype)
    for name in ("cast", "saturate_cast"):
        for source in ALL:
            for target in _CASTS:
                if source != target:
                    yield _cast(name, source, target)
    for name, dtypes in _BINARY.items():
        for dtype in dtypes:
            yield _binary(name, dtype, dtype)
    for name in ("add", "multiply", "divide", "maximum", "less"):
        for first, second in _MIXED:
            yield _binary(name, first, second)
    for name in ("left_shift", "right_shift", "bitwise_left_shift", "bitwise_right_shift"):
        yield _binary(name, "int32", "int32", _DOMAINS[name.removeprefix("bitwise_")])


def _unary(name: str, variant: str, function: Callable[..., Any], dtype: str) -> Case:
    return Case(f"ops.{name}", variant, (InputSpec((None,), dtype),), function, lambda: pointwise(dtype))


def _cast(name: str, source: str, target: str) -> Case:
    def keep(x: Any) -> Any:
        """A float that the target cannot hold has another value on every processor."""
        if x.dtype.kind != "f" or target.startswith("float") or target == "bool" or name == "saturate_cast":
            return x == x if name == "saturate_cast" else np.full(x.shape, True)
        info = np.iinfo(target)
        return np.isfinite(x) & (x.astype("float64") > float(info.min) - 1) & (x.astype("float64") < float(info.max))

    function = getattr(ops, name)
    return Case(
        f"ops.{name}",
        f"{source} to {target}",
        (InputSpec((None,), source),),
        lambda x: function(x, target),
        lambda: pointwise(source, keep=keep),
    )


def _binary(name: str, first: str, second: str, keep: Callable[[Any, Any], Any] | None = None) -> Case:
    keep = keep or _DOMAINS.get(name)
    return Case(
        f"ops.{name}",
        first if first == second else f"{first} and {second}",
        (InputSpec((None,), first), InputSpec((None,), second)),
        getattr(ops, name),
        lambda: pairwise(first, second, keep=keep),
    )
