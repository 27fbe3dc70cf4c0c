"""The edge values of element types, and the probes that are made of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from keras_runtimes.arrays import Array
from parity.model import Probe

FLOATS = ("float32", "float16")
INTEGERS = ("int32", "int64", "uint8")
NUMBERS = (*FLOATS, *INTEGERS)
ALL = (*NUMBERS, "bool")

Values = dict[str, list[Any]]
"""Edge values by their kind."""

_ORDINARY = [-3.0, -2.5, -1.5, -1.0, -0.75, -0.5, -0.1, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.5, 2.0, 2.5, 3.0, 7.3, -7.3]

# Nothing below 1.2e-38, the smallest normal float32: TensorFlow takes it as zero, and ONNX Runtime does not.
FLOAT32: Values = {
    "ordinary": _ORDINARY,
    "zero": [0.0, -0.0],
    "large": [10.0, -10.0, 20.0, -20.0, 50.0, -50.0, 88.0, -88.0, 104.0, -104.0, 1000.5, -1000.5, 16777217.0],
    "huge": [1e10, -1e10, 3e9, -3e9, 1e20, -1e20, 1e30, -1e30, 3.4e38, -3.4e38],
    "tiny": [1e-5, -1e-5, 1e-10, -1e-10, 1e-20, -1e-20, 1e-30, -1e-30],
    "NaN": [np.nan],
    "infinity": [np.inf, -np.inf],
}
FLOAT16: Values = {
    "ordinary": _ORDINARY,
    "zero": [0.0, -0.0],
    "large": [10.0, -10.0, 20.0, -20.0, 50.0, -50.0, 255.0, -255.0, 1000.0, -1000.0, 2049.0],
    "huge": [30000.0, -30000.0, 65504.0, -65504.0],
    "tiny": [1e-3, -1e-3, 6.2e-5, -6.2e-5],
    "NaN": [np.nan],
    "infinity": [np.inf, -np.inf],
}


def _integers(dtype: str) -> Values:
    info = np.iinfo(dtype)
    if info.min == 0:
        return {"ordinary": [1, 2, 3, 7, 31], "zero": [0], "huge": [127, 128, 200, info.max - 1, info.max]}
    huge = [1000, -1000, 46341, -46341, info.max - 1, info.max, info.min + 1, info.min]
    if dtype == "int64":
        huge += [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32, 2**53 + 1]
    return {"ordinary": [1, 2, 3, 7, 31], "zero": [0], "negative": [-1, -2, -3, -7, -31], "huge": huge}


def values(dtype: str) -> Values:
    """All edge values of a type."""
    match dtype:
        case "float32":
            return FLOAT32
        case "float16":
            return FLOAT16
        case "bool":
            return {"ordinary": [True, False]}
        case _:
            return _integers(dtype)


Keep = Callable[[Array], Any]


def pointwise(dtype: str, *, keep: Keep | None = None) -> list[Probe]:
    """Probes of an operation on single values, for an input of shape [batch, free]: each value is a row.

    Args:
        dtype: of the input.
        keep: which values are in the domain, as a mask; default all.
    """
    probes = []
    for kind, each in values(dtype).items():
        array = np.array(each, dtype)
        if keep is not None:
            with np.errstate(all="ignore"):
                array = array[keep(array)]
        if array.size:
            probes.append(Probe(kind, (array[:, None],)))
    return [*probes, Probe("empty", (np.zeros((2, 0), dtype),)), Probe("wide", (dense((3, 5), dtype, keep),))]


def pairwise(
    first: str, second: str, *, keep: Callable[[Array, Array], Any] | None = None, limit: int = 400
) -> list[Probe]:
    """Probes of an operation on two values, for inputs of shape [batch, free]: each pair is a row.

    The kind of a pair is that of its values, or of the one that is not ordinary.
    """
    pairs: dict[str, list[tuple[Any, Any]]] = {}
    for (kind, left), (other, right) in itertools.product(values(first).items(), values(second).items()):
        order = ("NaN", "infinity", "huge", "large", "tiny", "zero", "negative", "ordinary")
        pairs.setdefault(min(kind, other, key=order.index), []).extend(itertools.product(left, right))
    probes = []
    for kind, each in pairs.items():
        x, y = (np.array(column) for column in zip(*each, strict=True))
        x, y = x.astype(first), y.astype(second)
        if keep is not None:
            with np.errstate(all="ignore"):
                mask = np.asarray(keep(x, y), bool)
            x, y = x[mask], y[mask]
        if x.size:
            step = -(-x.size // limit)
            probes.append(Probe(kind, (x[::step, None], y[::step, None])))
    return [*probes, Probe("empty", (np.zeros((2, 0), first), np.zeros((2, 0), second)))]


def dense(shape: Sequence[int], dtype: str, keep: Keep | None = None, seed: int = 3) -> Array:
    """Ordinary values in an array of a shape."""
    random = np.random.default_rng(seed)
    if dtype == "string":
        return random.choice(np.array(["a", "b", "c", "not in it", ""]), shape)
    ordinary = np.array(values(dtype)["ordinary"] + values(dtype).get("negative", []), dtype)
    if keep is not None:
        with np.errstate(all="ignore"):
            ordinary = ordinary[keep(ordinary)]
    picked: Array = random.choice(ordinary, shape)
    if picked.dtype.kind == "f":  # no two equal values, whose order would be arbitrary
        picked = (picked * (1 + random.uniform(0, 0.01, shape))).astype(dtype)
    return picked


def fill(array: Array, kind_values: Iterable[Any], seed: int = 4) -> Array:
    """An array with about a quarter of its values replaced by edge values."""
    random = np.random.default_rng(seed)
    edge = np.array(list(kind_values)).astype(array.dtype)
    mask = random.random(array.shape) < 0.25
    if array.size and not mask.any():
        mask.flat[0] = True
    filled: Array = np.where(mask, random.choice(edge, array.shape), array)
    return filled.astype(array.dtype)


def tensors(
    shapes: Sequence[Sequence[int]],
    dtypes: Sequence[str],
    *,
    keep: Keep | None = None,
    kinds: Sequence[str] = ("zero", "negative", "tiny", "large", "huge", "NaN", "infinity"),
    edge: Sequence[int] = (0,),
) -> list[Probe]:
    """Probes of an operation on whole arrays: ordinary values, and arrays in which some values are of one kind.

    Args:
        shapes: of the inputs, with the batch.
        dtypes: of the inputs.
        keep: which values are in the domain.
        kinds: of edge values to try.
        edge: positions of the inputs that get edge values.
    """
    plain = tuple(
        dense(shape, dtype, keep, seed=3 + place)
        for place, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
    )
    probes = [Probe("ordinary", plain)]
    for kind in kinds:
        arrays = list(plain)
        for place in edge:
            if dtypes[place] == "string":
                continue
            found = np.array(values(dtypes[place]).get(kind, []), dtypes[place])
            if keep is not None and found.size:
                with np.errstate(all="ignore"):
                    found = found[keep(found)]
            if found.size:
                arrays[place] = fill(plain[place], found)
        if any(array is not same for array, same in zip(arrays, plain, strict=True)):
            probes.append(Probe(kind, tuple(arrays)))
    return probes


def sizes(build: Callable[..., Sequence[Sequence[int]]], dtypes: Sequence[str], each: Iterable[int]) -> list[Probe]:
    """Probes of several sizes of a free axis; size 0 is of the kind "empty"."""
    return [
        Probe(
            "empty" if size == 0 else f"size {size}",
            tuple(dense(shape, dtype, seed=size + 7) for shape, dtype in zip(build(size), dtypes, strict=True)),
        )
        for size in each
    ]
