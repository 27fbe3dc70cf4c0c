"""How much the outputs of a runtime may differ from those of Keras; for the parity check and for the warm-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_runtimes.arrays import Array

# Below this magnitude of an output, differences count as if it had this magnitude: a sum whose terms cancel is exactly
# zero in one runtime, and a rounding error of its terms in another.
SMALLEST_MAGNITUDE = 1e-2


@dataclass(frozen=True)
class Tolerance:
    """Bounds for floating-point numbers.

    Attributes:
        relative: to each number.
        absolute: to the largest finite magnitude in the output: a map of scale 5000 has other rounding errors than
            probabilities.
    """

    relative: float
    absolute: float

    def bounds(self, expected: Array) -> Array:
        """The largest difference that each number may have, in float64.

        Args:
            expected: an output of Keras, in float64.
        """
        finite = np.abs(expected[np.isfinite(expected)])
        magnitude = max(float(finite.max(initial=0.0)), SMALLEST_MAGNITUDE)
        bounds: Array = self.absolute * magnitude + self.relative * np.abs(expected)
        return bounds


FULL_PRECISION = Tolerance(relative=1e-3, absolute=1e-5)
HALF_PRECISION = Tolerance(relative=1e-2, absolute=1e-3)


def tolerance_of(*, half_precision: bool) -> Tolerance:
    """The tolerance for a model.

    Args:
        half_precision: whether a layer computes in float16 or bfloat16.
    """
    return HALF_PRECISION if half_precision else FULL_PRECISION


class Comparison(NamedTuple):
    """The result of comparing an output with the expected one.

    Attributes:
        difference: the largest absolute difference; infinite where a number stands against NaN or an infinity; 1 where
            values differ that are not floating-point numbers.
        within: whether every difference is within the tolerance.
    """

    difference: float
    within: bool


def compare(expected: Array, actual: Array, tolerance: Tolerance) -> Comparison:
    """Compare two arrays of one shape and type.

    NaN equals NaN and an infinity equals itself, in place. Values that are not floating-point numbers must be equal.
    """
    if expected.dtype.kind != "f":
        equal = np.array_equal(expected, actual)
        return Comparison(0.0 if equal else 1.0, equal)
    want, got = expected.astype(np.float64), actual.astype(np.float64)
    same = (want == got) | (np.isnan(want) & np.isnan(got))
    finite = np.isfinite(want) & np.isfinite(got)
    if not (same | finite).all():
        return Comparison(float("inf"), False)
    difference = np.abs(np.subtract(want, got, where=finite, out=np.zeros_like(want)))
    within = same | (difference <= tolerance.bounds(want))
    return Comparison(float(difference.max(initial=0.0)), bool(within.all()))
