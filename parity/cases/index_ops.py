"""Operations of keras.ops that take indices, choose, loop, or make constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from parity.build import whole
from parity.model import Case

Function = Callable[..., Any]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _indices()
    yield from _constants()


def _indices() -> Iterator[Case]:
    for dtype in ("int32", "int64", "uint8"):
        yield whole("ops.one_hot", f"5 classes, {dtype}", lambda x: ops.one_hot(x, 5), ((None,),), (dtype,), ids={0: 5})
        yield whole(
            "ops.multi_hot", f"5 classes, {dtype}", lambda x: ops.multi_hot(x, 5), ((None,),), (dtype,), ids={0: 5}
        )
    yield whole("ops.one_hot", "axis=1", lambda x: ops.one_hot(x, 5, axis=1), ((None,),), ("int32",), ids={0: 5})
    yield whole(
        "ops.one_hot", "int32 result", lambda x: ops.one_hot(x, 5, dtype="int32"), ((4,),), ("int32",), ids={0: 5}
    )
    for dtype in ("int32", "int64"):
        yield whole("ops.take", f"of a table, {dtype}", _take_table, ((None,),), (dtype,), ids={0: 6})
        yield whole(
            "ops.take",
            f"axis=1, {dtype}",
            lambda x, i: ops.take(x, i[0], 1),
            ((4, 2), (3,)),
            ("float32", dtype),
            ids={1: 4},
        )
        yield whole(
            "ops.take_along_axis",
            f"axis=1, {dtype}",
            lambda x, i: ops.take_along_axis(x, i, 1),
            ((4,), (3,)),
            ("float32", dtype),
            ids={1: 4},
        )
    yield whole("ops.unravel_index", "(2, 3)", lambda x: ops.unravel_index(x, (2, 3)), ((4,),), ("int32",), ids={0: 6})
    for reduction in (None, "add", "max", "min", "mul"):
        yield whole("ops.scatter_update", f"{reduction}", _scatter_update(reduction), ((4, 2), (2,)), kinds=())
    yield whole("ops.scatter", "ids", _scatter, ((3,), (3,)), ("int32", "float32"), ids={0: 4})
    for name in ("segment_sum", "segment_max", "segment_min", "segment_prod"):
        yield whole(
            f"ops.{name}", "4 segments", _segment(getattr(ops, name)), ((3, 2), (3,)), ("float32", "int32"), ids={1: 4}
        )
    yield whole(
        "ops.where",
        "condition",
        lambda c, x, y: ops.where(c, x, y),
        ((None,), (None,), (None,)),
        ("bool", "float32", "float32"),
        edge=(1,),
    )
    yield whole("ops.where", "x > 0", lambda x: ops.where(x > 0, x, -np.inf), ((None,),))
    yield whole("ops.where", "int and float", lambda x: ops.where(x > 0, x, 0.5), ((None,),), ("int32",))
    yield whole("ops.select", "two conditions", lambda x: ops.select([x > 1, x < -1], [x, -x], 0), ((None,),))
    yield whole(
        "ops.cond",
        "of the sum",
        lambda x: ops.cond(ops.sum(x) > 0, lambda: x + 1, lambda: x - 1),
        ((4,),),
        kinds=("large",),
    )
    yield whole("ops.switch", "of three", _switch, ((4,),), kinds=())
    yield whole("ops.map", "a row", lambda x: ops.map(lambda row: row * 2 + 1, x), ((4,),), kinds=("NaN",))
    yield whole("ops.scan", "cumulative", _scan, ((5,),), kinds=())
    yield whole(
        "ops.associative_scan", "cumulative", lambda x: ops.associative_scan(ops.add, x, axis=1), ((5,),), kinds=()
    )
    yield whole("ops.while_loop", "three times", _while, ((4,),), kinds=())
    yield whole(
        "ops.fori_loop", "three times", lambda x: ops.fori_loop(0, 3, lambda i, y: y * 2 + 1, x), ((4,),), kinds=()
    )
    yield whole("ops.vectorized_map", "a row", lambda x: ops.vectorized_map(lambda row: row * 2, x), ((4,),), kinds=())
    yield whole("ops.vectorize", "a row", lambda x: ops.vectorize(lambda v: v * 2 + 1)(x), ((4,),), kinds=())
    yield whole("ops.custom_gradient", "identity", _custom_gradient, ((4,),), kinds=())
    yield whole("ops.jvp", "square", lambda x: ops.jvp(ops.square, (x,), (ops.ones_like(x),)), ((4,),), kinds=())
    yield whole("ops.convert_to_tensor", "an input", lambda x: ops.convert_to_tensor(x) + 1, ((4,),), kinds=())
    yield whole("ops.array", "an input", lambda x: ops.array(x) + 1, ((4,),), kinds=())
    yield whole("ops.is_tensor", "as a value", lambda x: x + float(ops.is_tensor(x)), ((4,),), kinds=())
    yield whole("ops.dtype", "as a value", lambda x: ops.cast(x, ops.dtype(x)) + 1, ((4,),), kinds=())


def _constants() -> Iterator[Case]:
    """Operations that make constants, or arrays of the size of an input."""
    made: dict[str, Function] = {
        "arange": lambda x: ops.arange(4, dtype="float32"),
        "bartlett": lambda x: ops.bartlett(4),
        "blackman": lambda x: ops.blackman(4),
        "hamming": lambda x: ops.hamming(4),
        "hanning": lambda x: ops.hanning(4),
        "kaiser": lambda x: ops.kaiser(4, 3.0),
        "empty": lambda x: ops.empty((4,)) * 0,
        "empty_like": lambda x: ops.empty_like(x) * 0,
        "eye": lambda x: ops.eye(4)[1],
        "full": lambda x: ops.full((4,), 3.0),
        "geomspace": lambda x: ops.geomspace(1.0, 8.0, 4),
        "identity": lambda x: ops.identity(4)[1],
        "linspace": lambda x: ops.linspace(0.0, 1.0, 4),
        "logspace": lambda x: ops.logspace(0.0, 1.0, 4),
        "ones": lambda x: ops.ones((4,)),
        "tri": lambda x: ops.tri(4)[1],
        "zeros": lambda x: ops.zeros((4,)),
    }
    for name, function in made.items():
        yield whole(f"ops.{name}", "added to the input", lambda x, f=function: x + f(x), ((4,),), kinds=())
    yield whole("ops.arange", "of the input's size", _positions, ((None,),), kinds=())
    yield whole(
        "ops.linspace",
        "of tensors",
        lambda x, y: ops.linspace(x, y, 5, axis=1),
        ((None,), (None,)),
        kinds=("zero", "infinity"),
    )
    yield whole(
        "ops.linspace",
        "endpoint=False",
        lambda x, y: ops.linspace(x, y, 5, endpoint=False, axis=1),
        ((4,), (4,)),
        kinds=(),
    )
    yield whole("ops.logspace", "of tensors", lambda x, y: ops.logspace(x, y, 5, axis=1), ((4,), (4,)), kinds=("zero",))
    positive = lambda x: x > 0  # noqa: E731
    yield whole(
        "ops.geomspace",
        "of tensors",
        lambda x, y: ops.geomspace(x, y, 5, axis=1),
        ((4,), (4,)),
        kinds=(),
        keep=positive,
    )


def _positions(x: Any) -> Any:
    return x + ops.cast(ops.arange(ops.shape(x)[1]), "float32")


def _take_table(x: Any) -> Any:
    return ops.take(np.arange(12, dtype="float32").reshape(6, 2), x, axis=0)


def _scatter_update(reduction: str | None) -> Function:
    places = np.array([[0, 0], [0, 2]])

    def function(x: Any, y: Any) -> Any:
        return ops.scatter_update(x, places, ops.stack([y[0], y[0]]), reduction=reduction)

    return function


def _scatter(ids: Any, values: Any) -> Any:
    return ops.map(lambda pair: ops.scatter(pair[0][:, None], pair[1], (4,)), (ids, values))


def _segment(function: Function) -> Function:
    return lambda x, ids: ops.map(lambda pair: function(pair[0], pair[1], num_segments=4), (x, ids))


def _switch(x: Any) -> Any:
    index = ops.cast(ops.shape(x)[0] % 3, "int32")
    return ops.switch(index, [lambda y: y, lambda y: y * 2, lambda y: -y], x)


def _scan(x: Any) -> Any:
    steps = ops.transpose(x)
    _, sums = ops.scan(lambda carry, step: (carry + step, carry + step), ops.zeros_like(steps[0]), steps)
    return ops.transpose(sums)


def _while(x: Any) -> Any:
    return ops.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2), (0, x))[1]


def _custom_gradient(x: Any) -> Any:
    @ops.custom_gradient
    def same(value: Any) -> Any:
        return value * 2, lambda *_, upstream: upstream

    return same(x)
