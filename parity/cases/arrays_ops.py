"""Operations of keras.ops on whole arrays: reductions, order, shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from parity.build import whole
from parity.model import Case, Probe

MATRIX = ((None, 4),)
BLOCK = ((None, 4, 3),)
SQUARE = ((4, 4),)
NO_EDGE = ()

_REDUCTIONS = {
    **dict.fromkeys(
        ("sum", "prod", "mean", "max", "min", "amax", "amin"), ("float32", "float16", "int32", "int64", "uint8")
    ),
    **dict.fromkeys(("std", "var", "median", "logsumexp", "ptp"), ("float32", "int32")),
    **dict.fromkeys(
        ("nansum", "nanmean", "nanmax", "nanmin", "nanprod", "nanstd", "nanvar", "nanmedian"), ("float32",)
    ),
    **dict.fromkeys(("all", "any"), ("bool", "float32", "int32")),
    **dict.fromkeys(("count_nonzero",), ("float32", "int32")),
    **dict.fromkeys(("argmax", "argmin"), ("float32", "float16", "int32", "int64", "uint8")),
    **dict.fromkeys(("nanargmax", "nanargmin"), ("float32",)),
}
# The product of huge integers, and the mean of huge ones, overflow in an order that no format defines.
_OVERFLOWING = {"sum", "prod", "mean", "std", "var", "median", "logsumexp", "ptp"}

Function = Callable[..., Any]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _reductions()
    yield from _order()
    yield from _shapes()


def _one(
    name: str, variant: str, function: Function, shapes: Any = MATRIX, dtypes: Any = ("float32",), **options: Any
) -> Iterator[Case]:
    """A case for each type."""
    for dtype in dtypes:
        words = f"{variant}, {dtype}" if len(dtypes) > 1 or dtype != "float32" else variant
        yield whole(f"ops.{name}", words, function, shapes, [dtype] * len(shapes), **options)


def _reductions() -> Iterator[Case]:
    for name, dtypes in _REDUCTIONS.items():
        function = getattr(ops, name)
        for dtype in dtypes:
            kinds = ("zero", "negative", "tiny", "large", "NaN", "infinity")
            if name not in _OVERFLOWING:
                kinds = (*kinds, "huge")
            yield from _one(name, "axis=1", _along(function, 1), MATRIX, (dtype,), kinds=kinds)
            if dtype == "float32" and name != "count_nonzero":
                yield from _one(name, "axis=-1, keepdims", _along(function, -1, name), BLOCK, (dtype,), kinds=kinds)
        if not name.startswith(("arg", "nanarg", "logsumexp", "median", "nanmedian")):
            yield from _one(name, "axis=(1, 2)", _along(function, (1, 2)), BLOCK, kinds=("NaN",))
    for name in ("cumsum", "cumprod", "nancumsum", "nancumprod"):
        function = getattr(ops, name)
        dtypes = ("float32", "int32") if not name.startswith("nan") else ("float32",)
        yield from _one(
            name, "axis=1", _along(function, 1), MATRIX, dtypes, kinds=("zero", "negative", "NaN", "infinity")
        )
        yield from _one(name, "axis=-1", _along(function, -1), BLOCK, kinds=())
    yield from _one("average", "axis=1", lambda x: ops.average(x, axis=1))
    yield from _one(
        "average", "weights", lambda x: ops.average(x, axis=-1, weights=np.array([1.0, 2, 3, 4], "float32"))
    )
    for name in ("quantile", "nanquantile", "percentile", "nanpercentile"):
        unit = 100 if "percentile" in name else 1
        for method in ("linear", "lower", "higher", "nearest", "midpoint"):
            yield from _one(name, method, _quantile(getattr(ops, name), 0.3 * unit, method), kinds=("NaN", "huge"))
    yield from _one("moments", "axes=1", lambda x: ops.moments(x, 1), kinds=("zero", "tiny", "NaN", "infinity"))
    for order in (None, 1, 2, np.inf, -np.inf, 3, 0):
        yield from _one(
            "norm", f"ord={order}, axis=1", lambda x, order=order: ops.norm(x, order, 1), kinds=("zero", "NaN")
        )
    for order in ("fro", "nuc", 1, np.inf, 2):
        function = lambda x, order=order: ops.norm(x, order, (1, 2))  # noqa: E731
        yield from _one("norm", f"ord={order}, axis=(1, 2)", function, SQUARE, kinds=("zero",))
    for order in (1, 2, 3):
        function = lambda x, order=order: ops.normalize(x, 1, order)  # noqa: E731
        yield from _one("normalize", f"order={order}", function, kinds=("zero", "tiny", "NaN"))
    yield from _one("corrcoef", "of the columns", _corrcoef, ((4,),), kinds=())
    yield from _one("trapezoid", "dx=0.5", lambda x: ops.trapezoid(x, dx=0.5, axis=1), kinds=())
    yield from _one(
        "trace", "axes 1, 2", lambda x: ops.trace(x, axis1=1, axis2=2), SQUARE, ("float32", "int32"), kinds=()
    )
    yield from _one("histogram", "range -3, 3", _histogram, ((4,),), kinds=())
    yield from _one("bincount", "minlength=5", lambda x: ops.bincount(x, minlength=5), ((6,),), ("int32",), ids={0: 4})


def _corrcoef(x: Any) -> Any:
    found = ops.corrcoef(ops.transpose(x))
    return ops.broadcast_to(found[None], (ops.shape(x)[0], 4, 4))


def _histogram(x: Any) -> Any:
    found, _ = ops.histogram(ops.reshape(x, (-1,)), 4, (-3, 3))
    return ops.broadcast_to(found[None], (ops.shape(x)[0], 4))


def _along(function: Function, axis: Any, keep: str = "") -> Function:
    if keep and keep not in {"logsumexp"}:
        return lambda x: function(x, axis=axis, keepdims=True)
    return lambda x: function(x, axis=axis)


def _quantile(function: Function, q: float, method: str) -> Function:
    return lambda x: function(x, q, axis=1, method=method)


def _ties() -> list[Probe]:
    """Rows with equal values, the order of which must be that of Keras."""
    return [Probe("ties", (np.array([[[1, 2, 2, 0]] * 2, [[3, 3, 3, 3]] * 2, [[0, 1, 1, 1]] * 2], "float32"),))]


def _order() -> Iterator[Case]:
    kinds = ("zero", "negative", "huge", "NaN", "infinity")
    dtypes = ("float32", "int32", "int64")
    for name in ("sort", "argsort"):
        yield from _one(name, "axis=-1", _along(getattr(ops, name), -1), dtypes=dtypes, kinds=kinds)
        yield from _one(name, "axis=1", _along(getattr(ops, name), 1), kinds=kinds)
        yield from _one(name, "ties", getattr(ops, name), kinds=(), extra=_ties)
    for name in ("argmax", "argmin"):
        yield from _one(name, "ties", _along(getattr(ops, name), -1), kinds=(), extra=_ties)
    yield from _one("argpartition", "kth=1", lambda x: ops.argpartition(x, 1), kinds=kinds)
    yield from _one("top_k", "k=2", lambda x: ops.top_k(x, 2), dtypes=(*dtypes, "float16"), kinds=kinds, extra=tuple)
    yield from _one("top_k", "k=2, ties", lambda x: ops.top_k(x, 2), kinds=(), extra=_ties)
    yield from _one("top_k", "k=2, sorted=False", lambda x: ops.top_k(x, 2, sorted=False), kinds=())
    yield whole(
        "ops.in_top_k",
        "k=2",
        lambda t, x: ops.in_top_k(t[:, 0], x, 2),
        ((1,), (4,)),
        ("int32", "float32"),
        kinds=("NaN",),
        edge=(1,),
        ids={0: 4},
    )
    yield from _one(
        "unique", "size=6", lambda x: ops.map(lambda row: ops.unique(row, size=6), x), ((6,),), ("int32",), kinds=()
    )
    yield from _one(
        "nonzero",
        "stacked",
        lambda x: ops.transpose(ops.stack(ops.nonzero(x))),
        ((4,),),
        ("float32", "int32"),
        kinds=("zero",),
    )
    yield from _one(
        "isclose",
        "equal_nan",
        lambda x, y: ops.isclose(x, y, equal_nan=True),
        ((4,), (4,)),
        kinds=("NaN", "infinity"),
        edge=(0, 1),
    )
    yield from _one(
        "allclose",
        "broadcast to the rows",
        lambda x: ops.broadcast_to(ops.allclose(x, x), (ops.shape(x)[0], 1)),
        ((4,),),
        kinds=("NaN",),
    )


def _shapes() -> Iterator[Case]:
    two = ((None, 4), (None, 4))
    table: list[tuple[Any, ...]] = [
        ("reshape", "-1, 2", lambda x: ops.reshape(x, (-1, 8)), SQUARE),
        ("ravel", "in rows", lambda x: ops.reshape(ops.ravel(x), (-1, 4, 4)), SQUARE),
        ("transpose", "axes", lambda x: ops.transpose(x, (0, 2, 1)), MATRIX),
        ("swapaxes", "1, 2", lambda x: ops.swapaxes(x, 1, 2), MATRIX),
        ("moveaxis", "1 to -1", lambda x: ops.moveaxis(x, 1, -1), BLOCK),
        ("expand_dims", "axis=1", lambda x: ops.expand_dims(x, 1), MATRIX),
        ("squeeze", "axis=2", lambda x: ops.squeeze(x, 2), ((None, 1),)),
        ("flip", "axis=1", lambda x: ops.flip(x, 1), MATRIX),
        ("fliplr", "", ops.fliplr, MATRIX),
        ("flipud", "rows swapped", lambda x: ops.swapaxes(ops.flipud(ops.swapaxes(x, 0, 1)), 0, 1), SQUARE),
        ("roll", "shift=2, axis=1", lambda x: ops.roll(x, 2, 1), MATRIX),
        ("roll", "shift=-1, axis=-1", lambda x: ops.roll(x, -1, -1), MATRIX),
        ("rot90", "axes=(1, 2)", lambda x: ops.rot90(x, 1, (1, 2)), MATRIX),
        ("rot90", "k=3, axes=(1, 2)", lambda x: ops.rot90(x, 3, (1, 2)), SQUARE),
        ("repeat", "3, axis=1", lambda x: ops.repeat(x, 3, 1), MATRIX),
        ("repeat", "1 to 4, axis=2", lambda x: ops.repeat(x, np.array([1, 2, 3, 4]), 2), SQUARE),
        ("tile", "1, 2, 3", lambda x: ops.tile(x, (1, 2, 3)), MATRIX),
        ("broadcast_to", "rows, 4, 4", lambda x: ops.broadcast_to(x, (ops.shape(x)[0], 4, 4)), ((1, 4),)),
        ("concatenate", "axis=1", lambda x, y: ops.concatenate([x, y], 1), two),
        ("append", "axis=1", lambda x, y: ops.append(x, y, 1), two),
        ("stack", "axis=1", lambda x, y: ops.stack([x, y], 1), two),
        ("hstack", "", lambda x, y: ops.hstack([x, y]), two),
        ("dstack", "", lambda x, y: ops.dstack([x, y]), two),
        ("vstack", "in rows", lambda x, y: ops.reshape(ops.vstack([x, y]), (-1, 8)), ((4,), (4,))),
        ("split", "2, axis=2", lambda x: ops.split(x, 2, 2), MATRIX),
        ("split", "[1, 3], axis=2", lambda x: ops.split(x, [1, 3], 2), MATRIX),
        ("array_split", "3, axis=2", lambda x: ops.array_split(x, 3, 2), MATRIX),
        ("hsplit", "2", lambda x: ops.hsplit(x, 2), SQUARE),
        ("dsplit", "2", lambda x: ops.dsplit(x, 2), MATRIX),
        (
            "vsplit",
            "2, of the transposed",
            lambda x: [ops.transpose(y) for y in ops.vsplit(ops.transpose(x), 2)],
            ((4,),),
        ),
        ("unstack", "axis=2", lambda x: ops.unstack(x, 4, 2), MATRIX),
        ("pad", "constant", lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1)), "constant", 7), MATRIX),
        ("pad", "reflect", lambda x: ops.pad(x, ((0, 0), (0, 0), (1, 2)), "reflect"), MATRIX),
        ("pad", "symmetric", lambda x: ops.pad(x, ((0, 0), (1, 1), (1, 2)), "symmetric"), MATRIX),
        ("diag", "of rows", lambda x: ops.map(ops.diag, x), ((4,),)),
        ("diagflat", "of rows", lambda x: ops.map(ops.diagflat, x), ((4,),)),
        ("diagonal", "axes 1, 2", lambda x: ops.diagonal(x, 1, 1, 2), SQUARE),
        ("diff", "axis=1", lambda x: ops.diff(x, 1, 1), MATRIX),
        ("diff", "n=2", lambda x: ops.diff(x, 2, -1), MATRIX),
        ("tril", "k=1", lambda x: ops.tril(x, 1), MATRIX),
        ("triu", "k=-1", lambda x: ops.triu(x, -1), MATRIX),
        ("meshgrid", "of rows", lambda x: ops.map(lambda r: ops.stack(ops.meshgrid(r, r)), x), ((4,),)),
        ("vander", "of rows", lambda x: ops.map(lambda r: ops.vander(r, 3), x), ((4,),)),
        ("rearrange", "b h w -> b (h w)", lambda x: ops.rearrange(x, "b h w -> b (h w)"), SQUARE),
        ("view", "int32", lambda x: ops.view(x, "int32"), MATRIX),
        ("slice", "1:3", lambda x: ops.slice(x, (0, 0, 1), (ops.shape(x)[0], 2, 2)), SQUARE),
        ("get_item", "[:, 1]", lambda x: ops.get_item(x, (slice(None), 1)), SQUARE),
        ("get_item", "[:, ::-1]", lambda x: ops.get_item(x, (slice(None), slice(None, None, -1))), MATRIX),
        ("get_item", "[:, -2:]", lambda x: ops.get_item(x, (slice(None), slice(-2, None))), MATRIX),
        ("get_item", "[..., 1:9:2]", lambda x: ops.get_item(x, (..., slice(1, 9, 2))), MATRIX),
        ("slice_update", "of the last", lambda x, y: ops.slice_update(x, (0, 0, 2), y), ((4, 4), (4, 2))),
        ("extract_sequences", "3, 2", lambda x: ops.extract_sequences(x, 3, 2), ((None,),)),
        ("shape", "as a value", lambda x: x[:, :1] + ops.cast(ops.shape(x)[1], "float32"), ((None,),)),
        ("size", "as a value", lambda x: x[:, :1] + ops.cast(ops.size(x[:1]), "float32"), ((4,),)),
        ("ndim", "as a value", lambda x: x + ops.ndim(x), ((4,),)),
    ]
    for name, variant, function, shapes in table:
        dtypes = (
            ("float32", "int32")
            if name in {"roll", "pad", "tril", "triu", "repeat", "concatenate", "flip", "diff"}
            else ("float32",)
        )
        yield from _one(name, variant or "rows", function, shapes, dtypes, kinds=("NaN", "infinity"))
    yield from _one("view", "uint8 as int8", lambda x: ops.view(x, "int8"), MATRIX, ("uint8",), kinds=("huge",))
