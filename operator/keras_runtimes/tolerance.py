"""How much the outputs of a runtime may differ from those of Keras; for the parity check and for the warm-up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Bounds as in numpy.allclose."""

    relative: float
    absolute: float


FULL_PRECISION = Tolerance(relative=1e-3, absolute=1e-5)
HALF_PRECISION = Tolerance(relative=1e-2, absolute=1e-3)
