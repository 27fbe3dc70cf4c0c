"""Warm-up: the golden inputs run, and their answers must equal Keras's, before the first request is served.

The prepare step ends with the same warm-up, so a bundle that cannot be served is never stored.
"""

from __future__ import annotations

import numpy as np

from keras_api.manifest import ANY_SIZE, ModelSummary
from keras_runtimes.arrays import Array, Arrays
from keras_runtimes.base import Runtime
from keras_runtimes.golden import Golden
from keras_runtimes.tolerance import Tolerance, compare, tolerance_of

# Most requests have one row; the last size makes the runtime allocate memory for batches.
BATCH_SIZES = (1, 32)

# Another CPU rounds a little differently than the one that measured the difference of the parity check.
MEASURED_ERROR_MARGIN = 10


class GoldenMismatchError(Exception):
    """The model does not answer as Keras did; the text names the output and the difference."""


def warm_up(runtime: Runtime, model: ModelSummary, golden: Golden) -> None:
    """Run the golden inputs as they are, then in batches of other sizes where the model allows it.

    A model whose rows depend on each other gets one row at a time.

    Raises:
        GoldenMismatchError: an answer differs from the golden one.
        InvalidInputError: the model rejects its own golden inputs.
        ModelRunError: the runtime fails.
    """
    if not model.rows_independent:
        check_rows(runtime, model, golden)
        return
    tolerance, measured = _allowed(model)
    check(runtime.run(golden.inputs), golden.outputs, tolerance, measured)
    if any(not tensor.shape or tensor.shape[0] != ANY_SIZE for tensor in (*model.inputs, *model.outputs)):
        return
    for size in BATCH_SIZES:
        answers = runtime.run(_rows_from(golden.inputs, 0, size))
        check(answers, _rows_from(golden.outputs, 0, size), tolerance, measured)


def check_rows(runtime: Runtime, model: ModelSummary, golden: Golden) -> None:
    """Run every golden row alone.

    Raises:
        GoldenMismatchError, InvalidInputError, ModelRunError: as `warm_up`.
    """
    tolerance, measured = _allowed(model)
    for row in range(min(len(array) for array in golden.inputs.values())):
        inputs, outputs = (_rows_from(arrays, row, 1) for arrays in (golden.inputs, golden.outputs))
        check(runtime.run(inputs), outputs, tolerance, measured)


def check(answers: Arrays, golden: Arrays, tolerance: Tolerance, measured: float = 0.0) -> None:
    """Compare answers with the golden ones.

    Args:
        answers: of the runtime, by the output's name.
        golden: of Keras.
        tolerance: how much they may differ.
        measured: an absolute difference that is also accepted, since the parity check measured it.

    Raises:
        GoldenMismatchError: naming the first output that differs.
    """
    for name, expected in golden.items():
        given = answers[name]
        if given.dtype != expected.dtype or given.shape != expected.shape:
            raise GoldenMismatchError(
                f"output {name!r} is {given.dtype} {list(given.shape)}; "
                f"the golden answer is {expected.dtype} {list(expected.shape)}"
            )
        difference, within = compare(expected, given, tolerance)
        if within or difference <= measured:
            continue
        if expected.dtype.kind != "f":
            raise GoldenMismatchError(f"output {name!r} differs from the golden answer")
        raise GoldenMismatchError(
            f"output {name!r} differs from the golden answer by up to {difference:.3g} "
            f"(allowed: {max(tolerance.absolute, measured):.3g} + {tolerance.relative:g} of the value)"
        )


def _allowed(model: ModelSummary) -> tuple[Tolerance, float]:
    measured = MEASURED_ERROR_MARGIN * float(model.parity.max_abs_error)
    return tolerance_of(half_precision=model.half_precision), measured


def _rows_from(arrays: Arrays, start: int, size: int) -> dict[str, Array]:
    """`size` rows from `start` on, beginning anew at the end."""
    return {name: np.take(array, range(start, start + size), axis=0, mode="wrap") for name, array in arrays.items()}
