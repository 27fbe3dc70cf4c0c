"""Compares Keras with itself: a row alone and in a batch, a call and `predict`, the exported graph and `predict`."""

from __future__ import annotations

from keras_api.reasons import Reason
from keras_pipeline.arrays import Arrays, rows_of, take
from keras_pipeline.errors import PrepareError
from keras_pipeline.loading import KerasRunError, LoadedModel
from keras_runtimes.tolerance import Tolerance, compare

ROWS_TO_REPEAT = 3
"""Rows of a batch that run once more, each alone."""


def check_rows_independent(model: LoadedModel, inputs: Arrays, expected: Arrays, tolerance: Tolerance) -> None:
    """See that rows are answered alone as they are in their batch.

    Args:
        model: the model.
        inputs: a batch.
        expected: the outputs of Keras for it.
        tolerance: how much the answers may differ.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, naming the output, the row and the difference.
        KerasRunError: Keras does not run a row alone.
    """
    for row in range(min(ROWS_TO_REPEAT, rows_of(inputs))):
        alone = model.run(take(inputs, row, row + 1))
        if difference := first_difference(take(expected, row, row + 1), alone, tolerance):
            raise PrepareError(
                Reason.MODEL_UNSUPPORTED,
                f"the answer for a row depends on the other rows of the request: row {row} alone is answered otherwise "
                f"than in a batch of {rows_of(inputs)} ({difference}). Remove operations over the batch axis (axis=0) "
                "from the model, or set spec.serving.rowsIndependent to false, which limits a request to one row",
            )


def call_differs(model: LoadedModel, inputs: Arrays, expected: Arrays, tolerance: Tolerance) -> str | None:
    """Where a call of the model differs from `predict`, for the status; None where it does not."""
    try:
        called = model.run_eagerly(inputs)
    except KerasRunError as error:
        return f"Keras runs model.predict(x), but not model(x): {error}. The server answers as model.predict(x)"
    difference = first_difference(expected, called, tolerance)
    if difference is None:
        return None
    return f"Keras answers model(x) otherwise than model.predict(x): {difference}. The server answers as the second"


def first_difference(expected: Arrays, actual: Arrays, tolerance: Tolerance) -> str | None:
    """The first output that differs, and by how much; None where all agree."""
    for name, want in expected.items():
        got = actual[name]
        if got.shape != want.shape:
            return f"output {name!r} has shape {list(got.shape)}, not {list(want.shape)}"
        if got.dtype != want.dtype and want.dtype.kind != "U":
            return f"output {name!r} has type {got.dtype}, not {want.dtype}"
        difference, within = compare(want, got, tolerance)
        if not within:
            return f"output {name!r} differs by up to {difference:.3g}"
    return None
