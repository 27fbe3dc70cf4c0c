"""Where ordinary inputs come from: the user's validation rows, or synthetic inputs that the model accepts.

An input that Keras rejects proves nothing about the model, so other sizes and values are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_api.reasons import Reason
from keras_pipeline.arrays import Arrays, rows_of, take
from keras_pipeline.errors import PrepareError
from keras_pipeline.input_sizes import Sizes, Trial, candidates, shape_of, sizes_of
from keras_pipeline.loading import KerasRunError, KerasTraceError, LoadedModel
from keras_pipeline.synthetic_inputs import SyntheticInputs
from keras_pipeline.validation import ValidationSet
from keras_runtimes.arrays import Array

NEEDS_ROWS = ". If the model needs inputs of a certain range, size or vocabulary, provide rows in spec.validation.data"

# A batch of 24 images of 224 x 224 may take over 2 GiB in the largest layers. Where memory decides on the batch size, a
# batch has at most this many values.
MAX_BATCH_VALUES = 1 << 20


@dataclass(frozen=True)
class InputSource:
    """A source of ordinary inputs.

    Attributes:
        batch: returns rows, whose free axes have the sizes.
        golden: returns the golden rows, at most so many.
        sizes: sizes of free axes that the model accepts.
        guess: the guess at the values that the model accepts (`SyntheticInputs`).
        uniform: whether all free axes of a kind have one size.
    """

    batch: Callable[[int, Sizes], Arrays]
    golden: Callable[[int], Arrays]
    sizes: Sizes
    guess: int = 0
    uniform: bool = True

    def trial(self, rows: int, trial: Trial) -> Arrays:
        """Rows for sizes to try."""
        arrays = self.batch(rows, trial.sizes)
        if trial.axis is None:
            return arrays
        name, axis = trial.axis
        return {**arrays, name: np.take(arrays[name], range(trial.size), axis=axis, mode="wrap")}


def synthetic_source(model: LoadedModel, synthetic: SyntheticInputs, rows: int) -> InputSource:
    """The first guess at the values, and the first sizes, that the model accepts.

    Args:
        model: the model.
        synthetic: the guesses.
        rows: size of the batches to try.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, if it accepts none of them.
    """
    first_error = ""
    found: tuple[Sizes, int] | None = None
    for guess in range(synthetic.guesses):
        for sizes in candidates(model.inputs) if found is None else found[:1]:
            batch = synthetic.batch(rows, sizes, guess)
            try:
                # The exported graph is traced once for all sizes; `predict`, the reference, rejects some more of them.
                if has_answers(model.run_exported(batch)) and has_answers(model.run(batch)):
                    # oneDNN hides NaN behind numbers, operations that run one by one do not.
                    if not has_nan(model.run_eagerly(take(batch, 0, affordable(rows, take(batch, 0, 1))))):
                        return _guessed(synthetic, sizes, guess)
                    found = found or (sizes, guess)
                    break
                error = "the answer is empty, or only NaN"
            except KerasTraceError as failure:
                if not model.exportable:
                    raise model.export_error(failure) from failure
                error = str(failure)
            except KerasRunError as failure:
                error = str(failure)
            if not first_error:
                remedy = row_limit(model, batch) or NEEDS_ROWS
                first_error = f"Keras cannot run the model on inputs of shape {describe_shapes(batch)}: {error}{remedy}"
    if found is not None:
        return _guessed(synthetic, *found)
    raise PrepareError(Reason.MODEL_UNSUPPORTED, first_error)


def _guessed(synthetic: SyntheticInputs, sizes: Sizes, guess: int) -> InputSource:
    return InputSource(
        batch=lambda rows, wanted: synthetic.batch(rows, wanted, guess),
        golden=lambda rows: synthetic.batch(rows, sizes, guess),
        sizes=sizes,
        guess=guess,
    )


def validation_source(model: LoadedModel, validation: ValidationSet) -> InputSource:
    """The user's rows; for other sizes of free axes they are cut, or repeated from their beginning."""
    sizes = sizes_of(model.inputs, {name: array.shape for name, array in validation.inputs.items()})

    def batch(rows: int, wanted: Sizes) -> Arrays:
        places = np.arange(rows, 2 * rows) % rows_of(validation.inputs)  # after the last row a short set starts again
        chosen = {name: array[places] for name, array in validation.inputs.items()}
        if wanted == sizes:
            return chosen
        return {t.name: _resized(chosen[t.name], shape_of(t, rows, wanted)) for t in model.inputs}

    uniform = all(shape_of(t, 1, sizes)[1:] == validation.inputs[t.name].shape[1:] for t in model.inputs)
    return InputSource(batch, lambda rows: take(validation.inputs, 0, rows), sizes, uniform=uniform)


def _resized(array: Array, shape: tuple[int, ...]) -> Array:
    """The array in another size: cut, or repeated from its beginning."""
    for axis, size in enumerate(shape):
        array = np.take(array, range(size), axis=axis, mode="wrap")
    return array


def has_answers(outputs: Arrays) -> bool:
    """Whether there is a value that is not NaN, and no output is empty."""
    return all(array.size for array in outputs.values()) and any(
        array.dtype.kind != "f" or not np.isnan(array).all() for array in outputs.values()
    )


def has_nan(outputs: Arrays) -> bool:
    """Whether a value is NaN."""
    return any(array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in outputs.values())


def affordable(rows: int, one: Arrays) -> int:
    """The number of rows like the given one that fit into MAX_BATCH_VALUES: at least 1, at most `rows`."""
    return max(1, min(rows, MAX_BATCH_VALUES // max(1, sum(array.size for array in one.values()))))


def row_limit(model: LoadedModel, batch: Arrays) -> str:
    """The remedy where the model runs one of the rows, but not that row several times."""
    if rows_of(batch) == 1:
        return ""
    one = take(batch, 0, 1)
    try:
        model.run(one)
    except KerasRunError:
        return ""
    try:
        model.run({name: np.repeat(array, rows_of(batch), axis=0) for name, array in one.items()})
    except KerasRunError:
        return ". A model must accept any number of rows"
    return ""


def describe_shapes(arrays: Arrays) -> str:
    """Names and shapes, for messages."""
    return ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
