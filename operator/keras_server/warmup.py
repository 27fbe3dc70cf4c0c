"""Warm-up: run the golden inputs and compare with the answers that Keras gave, before any user is served."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_server.bundle import Bundle, Golden
from keras_server.dtypes import Array
from keras_server.runtimes.base import Runtime
from keras_server.signature import ANY_SIZE

# One row is the commonest request; the last size makes the runtime allocate for real batches.
BATCH_SIZES = (1, 32)

# The prepare step's own rule for float32, widened to what the step measured: another CPU rounds a little differently.
RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-5
MEASURED_ERROR_MARGIN = 10


class GoldenMismatchError(Exception):
    """The model does not answer as Keras did; the text names the output and the difference."""


def warm_up(runtime: Runtime, bundle: Bundle, golden: Golden) -> None:
    """Run the golden inputs as they are, then in batches of other sizes where the model allows it.

    Raises:
        GoldenMismatchError: when an answer differs from the golden one.
        InvalidRequestError: when the model refuses its own golden inputs.
        InferenceError: when the runtime fails.
    """
    model = bundle.manifest.model
    tolerance = max(ABSOLUTE_TOLERANCE, MEASURED_ERROR_MARGIN * float(model.parity.max_abs_error))
    compare(runtime.infer(golden.inputs), golden.outputs, absolute=tolerance)
    if any(not tensor.shape or tensor.shape[0] != ANY_SIZE for tensor in (*model.inputs, *model.outputs)):
        return
    for size in BATCH_SIZES:
        answers = runtime.infer(_batch(golden.inputs, size))
        compare(answers, _batch(golden.outputs, size), absolute=tolerance)


def compare(answers: Mapping[str, Array], golden: Mapping[str, Array], *, absolute: float) -> None:
    """See that answers equal the golden ones: floats within tolerance (NaN equals NaN), everything else exactly.

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
        elif not np.allclose(given, expected, rtol=RELATIVE_TOLERANCE, atol=absolute, equal_nan=True):
            with np.errstate(all="ignore"):
                difference = np.fmax.reduce(np.abs(given.astype(np.float64) - expected.astype(np.float64)), axis=None)
            raise GoldenMismatchError(
                f"output {name!r} differs from the golden answer by up to {difference:.3g} "
                f"(allowed: {absolute:.3g} + {RELATIVE_TOLERANCE:g} of the value)"
            )


def _batch(arrays: Mapping[str, Array], size: int) -> dict[str, Array]:
    """The rows again and again until there are `size` of them."""
    return {name: np.take(array, range(size), axis=0, mode="wrap") for name, array in arrays.items()}
