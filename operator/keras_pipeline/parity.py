"""Compares a converted model with Keras: the outputs must agree for every batch size.

Measured on about twenty families of models: correct conversions differ by about 1e-6, wrong ones by far more than the
tolerance, but often with the same argmax. Therefore values and argmax must agree, besides names, types and shapes. NaN
and the infinities must be in the same places, and what Keras rejects must be rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_api.manifest import Parity
from keras_pipeline.arrays import Arrays, rows_of
from keras_pipeline.errors import ConversionError, ParityError
from keras_runtimes.arrays import Array
from keras_runtimes.tolerance import Tolerance, compare

if TYPE_CHECKING:  # the comparison itself needs no TensorFlow
    from keras_pipeline.runtimes import Runtime

MIN_AGREEMENT = 0.995
# Values that differ by less than this fraction of the tolerance are a tie, because rounding may change their order.
TIE = 0.1

RANDOM = "random values"
"""The kind of inputs whose figures are published: the ordinary ones, not those at the edges."""


@dataclass(frozen=True)
class ReferenceCase:
    """Inputs, and the outputs of Keras for them. Cases differ in size, because a conversion may have fixed one.

    Attributes:
        inputs: arrays by name.
        expected: the outputs of Keras; None where Keras rejects the inputs, as a lookup does with an unknown word.
        kind: of the inputs, for messages: RANDOM, or the edge of their domain that they contain.
    """

    inputs: Arrays
    expected: Arrays | None
    kind: str = RANDOM


def check_parity(runtime: Runtime, cases: Sequence[ReferenceCase], tolerance: Tolerance) -> Parity:
    """Compare a runtime with Keras.

    Raises:
        ParityError: the outputs differ. The message contains the output, the batch size and the figures.
        ConversionError: the runtime fails on an input.
    """
    errors: list[float] = [0.0]
    agreeing: dict[str, list[Array]] = {}
    worst = 0.0, ""
    for case in cases:
        if case.expected is None:
            _check_rejected(runtime, case)
            continue
        actual = runtime.run(case.inputs)
        _check_form(case.expected, actual)
        for name, want in case.expected.items():
            difference, within = compare(want, actual[name], tolerance)
            if not within:
                worst = max(worst, (difference, f"output {name!r} {_differs(difference)} {_describe(case)}"))
            if case.kind == RANDOM:
                errors.append(difference)
            agreeing.setdefault(name, []).append(_same_argmax(want, actual[name], tolerance))
    agreement = min(float(np.concatenate(parts).mean()) for parts in agreeing.values())
    figures = f"largest difference {max(*errors, worst[0]):.3g}, argmax agreement {agreement:.4g}"
    if worst[1]:
        allowed = f"rtol {tolerance.relative:g}, atol {tolerance.absolute:g} of the output's magnitude"
        raise ParityError(f"{worst[1]}, more than {allowed} allow ({figures})")
    if agreement < MIN_AGREEMENT:
        raise ParityError(f"the argmax agrees in too few rows, below {MIN_AGREEMENT} ({figures})")
    rows = sum(rows_of(case.inputs) for case in cases if case.kind == RANDOM)
    return Parity(max_abs_error=f"{max(errors):.3g}", agreement=f"{agreement:.4g}", rows=rows)


def _differs(difference: float) -> str:
    if difference == float("inf"):
        return "contains NaN or infinity where Keras returns numbers, or the reverse,"
    return f"differs by up to {difference:.3g}"


def _check_form(expected: Arrays, actual: Arrays) -> None:
    if actual.keys() != expected.keys():
        raise ParityError(f"the outputs are named {sorted(actual)}, not {sorted(expected)}")
    for name, want in expected.items():
        got = actual[name]
        if got.shape != want.shape:
            raise ParityError(f"output {name!r} has shape {list(got.shape)}, not {list(want.shape)}")
        if got.dtype.kind != want.dtype.kind or (want.dtype.kind != "U" and got.dtype != want.dtype):
            raise ParityError(f"output {name!r} has type {got.dtype}, not {want.dtype}")


def _check_rejected(runtime: Runtime, case: ReferenceCase) -> None:
    """See that the runtime rejects inputs that Keras rejects, rather than answer them with numbers."""
    try:
        runtime.run(case.inputs)
    except ConversionError:
        return
    raise ParityError(f"it answers inputs that Keras rejects {_describe(case)}")


def _describe(case: ReferenceCase) -> str:
    kind = "" if case.kind == RANDOM else f", with {case.kind} among the inputs"
    return f"in a batch of {rows_of(case.inputs)}{kind}"


def _same_argmax(want: Array, got: Array, tolerance: Tolerance) -> Array:
    """Whether the argmax is the same, for each row (and step). In a tie either argmax is correct."""
    if want.dtype.kind != "f" or want.ndim < 2 or want.shape[-1] < 2:
        return np.ones(max(1, len(want)), dtype=bool)
    want = want.astype(np.float64)
    # NaN and the infinities are in the same places in both, so they decide nothing here.
    comparable = np.where(np.isfinite(want), want, 0.0)
    best = comparable.argmax(axis=-1, keepdims=True)
    chosen = np.where(np.isfinite(got), got, 0.0).argmax(axis=-1, keepdims=True)
    lead = np.take_along_axis(comparable, best, -1) - np.take_along_axis(comparable, chosen, -1)
    same: Array = lead <= TIE * np.take_along_axis(tolerance.bounds(comparable), best, -1)
    return same.ravel()
