"""Warm-up: the golden inputs run, and their answers must equal Keras's, before the first request is served."""

from __future__ import annotations

import numpy as np

from keras_api.manifest import ModelSummary
from keras_runtimes.arrays import Array, Arrays
from keras_runtimes.base import Runtime
from keras_runtimes.golden import Golden
from keras_runtimes.tolerance import FULL_PRECISION
from keras_server.signature import ANY_SIZE

# Most requests have one row; the last size makes the runtime allocate memory for batches.
BATCH_SIZES = (1, 32)

# The tolerance of the parity check, widened to the error that it measured: another CPU rounds a little differently.
MEASURED_ERROR_MARGIN = 10


class GoldenMismatchError(Exception):
    """The model does not answer as Keras did; the text names the output and the difference."""


def warm_up(runtime: Runtime, model: ModelSummary, golden: Golden) -> None:
    """Run the golden inputs as they are, then in batches of other sizes where the model allows it.

    A model whose rows depend on each other gets each golden row alone, as in a request.

    Raises:
        GoldenMismatchError: an answer differs from the golden one.
        InvalidInputError: the model rejects its own golden inputs.
        ModelRunError: the runtime fails.
    """
    tolerance = max(FULL_PRECISION.absolute, MEASURED_ERROR_MARGIN * float(model.parity.max_abs_error))
    has_rows = all(tensor.shape[:1] == [ANY_SIZE] for tensor in (*model.inputs, *model.outputs))
    if has_rows and not model.rows_independent:
        for row in range(len(next(iter(golden.inputs.values())))):
            compare(runtime.run(_row(golden.inputs, row)), _row(golden.outputs, row), absolute=tolerance)
        return
    compare(runtime.run(golden.inputs), golden.outputs, absolute=tolerance)
    if not has_rows:
        return
    for size in BATCH_SIZES:
        answers = runtime.run(_batch(golden.inputs, size))
        compare(answers, _batch(golden.outputs, size), absolute=tolerance)


def compare(answers: Arrays, golden: Arrays, *, absolute: float) -> None:
    """Compare answers with the golden ones: floats within tolerance (NaN equals NaN), everything else exactly.

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
        if not np.issubdtype(expected.dtype, np.floating):
            if not np.array_equal(given, expected):
                raise GoldenMismatchError(f"output {name!r} differs from the golden answer")
        elif not np.allclose(given, expected, rtol=FULL_PRECISION.relative, atol=absolute, equal_nan=True):
            with np.errstate(all="ignore"):
                difference = np.fmax.reduce(np.abs(given.astype(np.float64) - expected.astype(np.float64)), axis=None)
            raise GoldenMismatchError(
                f"output {name!r} differs from the golden answer by up to {difference:.3g} "
                f"(allowed: {absolute:.3g} + {FULL_PRECISION.relative:g} of the value)"
            )


def _batch(arrays: Arrays, size: int) -> dict[str, Array]:
    """`size` rows: the given ones, repeated."""
    return {name: np.take(array, range(size), axis=0, mode="wrap") for name, array in arrays.items()}


def _row(arrays: Arrays, row: int) -> dict[str, Array]:
    """One row, alone."""
    return {name: array[row : row + 1] for name, array in arrays.items()}
