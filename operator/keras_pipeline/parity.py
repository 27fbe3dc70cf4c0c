"""Compares a converted model with Keras: the outputs must agree for every batch size.

Measured on about twenty families of models: correct conversions differ by about 1e-6, wrong ones by far more than the
tolerance, but often with the same argmax. Therefore values and argmax must agree, besides names, types and shapes, and
no output may be NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_api.manifest import Parity
from keras_pipeline.arrays import Arrays, rows_of
from keras_pipeline.errors import ParityError
from keras_runtimes.arrays import Array
from keras_runtimes.tolerance import Tolerance

if TYPE_CHECKING:  # the comparison itself needs no TensorFlow
    from keras_pipeline.runtimes import Runtime

MIN_AGREEMENT = 0.995
# Values that differ by less than this fraction of the tolerance are a tie, because rounding may change their order.
TIE = 0.1


@dataclass(frozen=True)
class ReferenceCase:
    """Inputs, and the outputs of Keras for them. Cases differ in size, because a conversion may have fixed one."""

    inputs: Arrays
    expected: Arrays


def check_parity(runtime: Runtime, cases: Sequence[ReferenceCase], tolerance: Tolerance) -> Parity:
    """Compare a runtime with Keras.

    Raises:
        ParityError: the outputs differ. The message contains the output, the batch size and the figures.
        ConversionError: the runtime fails on an input.
    """
    errors: list[float] = []
    agreeing: dict[str, list[Array]] = {}
    worst = ""
    for case in cases:
        actual = runtime.run(case.inputs)
        _check_form(case.expected, actual)
        for name, want in case.expected.items():
            difference, within = _compare(want, actual[name], tolerance)
            if not within and difference >= max(errors, default=0.0):
                worst = f"output {name!r} differs by up to {difference:.3g} in a batch of {len(want)}"
            errors.append(difference)
            agreeing.setdefault(name, []).append(_same_argmax(want, actual[name], tolerance))
    agreement = min(float(np.concatenate(parts).mean()) for parts in agreeing.values())
    figures = f"largest difference {max(errors):.3g}, argmax agreement {agreement:.4g}"
    if worst:
        allowed = f"rtol {tolerance.relative:g}, atol {tolerance.absolute:g}"
        raise ParityError(f"{worst}, more than {allowed} allow ({figures})")
    if agreement < MIN_AGREEMENT:
        raise ParityError(f"the argmax agrees in too few rows, below {MIN_AGREEMENT} ({figures})")
    rows = sum(rows_of(case.inputs) for case in cases)
    return Parity(max_abs_error=f"{max(errors):.3g}", agreement=f"{agreement:.4g}", rows=rows)


def _check_form(expected: Arrays, actual: Arrays) -> None:
    if actual.keys() != expected.keys():
        raise ParityError(f"the outputs are named {sorted(actual)}, not {sorted(expected)}")
    for name, want in expected.items():
        got = actual[name]
        if got.shape != want.shape:
            raise ParityError(f"output {name!r} has shape {list(got.shape)}, not {list(want.shape)}")
        if got.dtype.kind != want.dtype.kind or (want.dtype.kind != "U" and got.dtype != want.dtype):
            raise ParityError(f"output {name!r} has type {got.dtype}, not {want.dtype}")
        if got.dtype.kind == "f" and not np.isfinite(got).all():
            raise ParityError(f"output {name!r} contains NaN or infinity where Keras returns numbers")


def _compare(want: Array, got: Array, tolerance: Tolerance) -> tuple[float, bool]:
    """Largest absolute difference, and whether all are within the tolerance. Values of other types must be equal."""
    if want.dtype.kind != "f":
        different = want != got
        return float(different.any()), not different.any()
    want, got = want.astype(np.float64), got.astype(np.float64)
    difference = np.abs(want - got)
    within = difference <= tolerance.absolute + tolerance.relative * np.abs(want)
    return float(difference.max(initial=0.0)), bool(within.all())


def _same_argmax(want: Array, got: Array, tolerance: Tolerance) -> Array:
    """Whether the argmax is the same, for each row (and step). In a tie either argmax is correct."""
    if want.dtype.kind != "f" or want.ndim < 2 or want.shape[-1] < 2:
        return np.ones(max(1, len(want)), dtype=bool)
    want = want.astype(np.float64)
    best = want.max(axis=-1)
    chosen = np.take_along_axis(want, got.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    same: Array = best - chosen <= TIE * (tolerance.absolute + tolerance.relative * np.abs(best))
    return same.ravel()
