"""Inputs at the edges of their domains, where conversions go wrong: -1, zero, ids beyond the last one, huge numbers.

Each batch changes one input of an ordinary batch, so that a value which the model rejects hides nothing about the other
inputs. What Keras rejects, a runtime must reject.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_api.manifest import Tensor
from keras_pipeline.arrays import Arrays
from keras_pipeline.synthetic_inputs import UNKNOWN_WORD, Ids, SyntheticInputs, Uniform
from keras_runtimes.arrays import Array

EDGE_ROWS = 2
MAX_INPUTS = 32
"""Inputs beyond this number are not changed: a table of a thousand columns would take minutes."""
# Beyond the range of float16, in which some layers compute.
HALF_OVERFLOW = 1e5
SEED = 20_241


@dataclass(frozen=True)
class Edge:
    """A batch of inputs.

    Attributes:
        inputs: arrays by name.
        kind: of the values at the edge, for messages.
        overflows_half: whether the values exceed the range of float16.
    """

    inputs: Arrays
    kind: str
    overflows_half: bool = False


def edges(synthetic: SyntheticInputs, inputs: list[Tensor], ordinary: Arrays, guess: int) -> list[Edge]:
    """Batches with values at the edges.

    Args:
        synthetic: the source of ordinary values.
        inputs: the model's inputs.
        ordinary: a batch that the model accepts.
        guess: the guess at the values that the model accepts.
    """
    random = np.random.default_rng(SEED)
    found = []
    for tensor in inputs[:MAX_INPUTS]:
        domain = synthetic.domain(tensor, guess)
        count = domain.count if isinstance(domain, Ids) else None
        bounds = (domain.low, domain.high) if isinstance(domain, Uniform) else None
        array = ordinary[tensor.name]
        for kind, values in _values(tensor.dtype, count, bounds):
            changed = _mixed(array, values, random)
            if tensor.dtype.startswith("float") and kind == LARGE:
                info = np.finfo(array.dtype)
                changed = np.clip(array.astype(np.float64) * HALF_OVERFLOW, info.min, info.max).astype(array.dtype)
            found.append(Edge({**ordinary, tensor.name: changed}, f"{kind} in input {tensor.name!r}", kind == LARGE))
    return found


LARGE = "numbers beyond 65504"


def _values(
    dtype: str, ids: int | None, bounds: tuple[float, float] | None
) -> Iterator[tuple[str, list[int] | list[float] | list[str]]]:
    """Kinds of edges of a type, with the values to mix into an ordinary batch."""
    if dtype == "string":
        yield "an empty text", [""]
        yield "an unknown word", [UNKNOWN_WORD]
    elif dtype == "bool":
        yield "only false", [0]
        yield "only true", [1]
    elif dtype.startswith("float"):
        yield "zeros", [0.0, -0.0]
        yield "negative numbers", [-1.0, -0.5, -7.25]
        yield LARGE, []
        if bounds:
            yield "the ends of the range", list(bounds)
    else:
        info = np.iinfo(dtype)
        yield "zeros", [0]
        if info.min < 0:
            yield "-1", [-1]
            yield "negative numbers", [-2, -7, -23, -100]
        if ids is not None:
            yield "the id after the last one", [min(ids, info.max)]
        yield "large numbers", [min(1_000_003, info.max)]


def _mixed(array: Array, values: list[int] | list[float] | list[str], random: np.random.Generator) -> Array:
    """The array with about half of its elements, at least one of each row, replaced by the values in turn."""
    if not values or not array.size:
        return array
    dtype = np.str_ if array.dtype.kind == "U" else array.dtype
    rows = array.reshape(len(array), -1)
    chosen = random.random(rows.shape) < 0.5
    chosen[:, 0] = True
    places = np.arange(rows.size).reshape(rows.shape) % len(values)
    mixed: Array = np.where(chosen, np.array(values)[places], rows).astype(dtype).reshape(array.shape)
    return mixed
