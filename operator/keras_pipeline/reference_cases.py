"""The inputs on which a converted model is compared with Keras, and the outputs of Keras for them.

The inputs are the user's validation rows, or synthetic inputs if there are none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_api.reasons import Reason
from keras_pipeline import golden
from keras_pipeline.arrays import Arrays, concatenate, rows_of, take
from keras_pipeline.errors import PrepareError
from keras_pipeline.loading import LoadedModel
from keras_pipeline.parity import ReferenceCase
from keras_pipeline.runtimes import Runtime
from keras_pipeline.synthetic_inputs import SyntheticInputs
from keras_pipeline.validation import ValidationSet

# One row and an odd number of rows, because a conversion may fix the batch size it was made with; then more rows for
# the argmax agreement.
BATCHES = (1, 7, 24)
STRETCH = 1.5  # factor of a second length of free axes, for the same reason
METRIC_BATCH = 32
# Keras keeps the outputs of all layers for a batch: 24 images of 224 x 224 take over 2 GiB. Where memory decides on the
# batch size, a batch has at most this many values.
MAX_BATCH_VALUES = 1 << 20


def reference_cases(model: LoadedModel, validation: ValidationSet | None) -> list[ReferenceCase]:
    """Cases of several batch sizes, and of several lengths if the model has free axes.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, if Keras cannot run the inputs or returns NaN.
    """
    synthetic = SyntheticInputs(model)
    if validation is None:
        one = synthetic.batch(BATCHES[0])
        batches = [one, synthetic.batch(BATCHES[1], STRETCH), synthetic.batch(_affordable(BATCHES[2], one))]
    else:
        batches = list(_cyclic_batches(validation.inputs))
        if model.free_inputs:
            batches.append(synthetic.batch(BATCHES[1], STRETCH))
    return [_reference_case(model, batch) for batch in batches]


def golden_case(model: LoadedModel, validation: ValidationSet | None) -> ReferenceCase:
    """The golden rows of the bundle."""
    if validation is None:
        synthetic = SyntheticInputs(model)
        return _reference_case(model, synthetic.batch(_affordable(golden.ROWS, synthetic.batch(1))))
    rows = _affordable(golden.ROWS, take(validation.inputs, 0, 1))
    return _reference_case(model, take(validation.inputs, 0, rows))


def run_in_batches(runtime: Runtime, inputs: Arrays) -> Arrays:
    """The outputs of a runtime for any number of rows, in bounded memory."""
    size = _affordable(METRIC_BATCH, take(inputs, 0, 1))
    return concatenate([runtime.run(take(inputs, start, start + size)) for start in range(0, rows_of(inputs), size)])


def _cyclic_batches(inputs: Arrays) -> Iterator[Arrays]:
    """Batches of a validation set; after its last row a short set starts again."""
    start = 0
    for size in (BATCHES[0], BATCHES[1], _affordable(BATCHES[2], take(inputs, 0, 1))):
        places = np.arange(start, start + size) % rows_of(inputs)
        yield {name: array[places] for name, array in inputs.items()}
        start += size


def _affordable(rows: int, one: Arrays) -> int:
    """The number of rows like the given one that fit into MAX_BATCH_VALUES: at least 1, at most `rows`."""
    return max(1, min(rows, MAX_BATCH_VALUES // max(1, sum(array.size for array in one.values()))))


def _reference_case(model: LoadedModel, inputs: Arrays) -> ReferenceCase:
    expected = model.run(inputs)
    for name, array in expected.items():
        if array.shape[:1] != (rows_of(inputs),):
            raise PrepareError(
                Reason.MODEL_UNSUPPORTED,
                f"output {name!r} has shape {list(array.shape)} for {rows_of(inputs)} rows: "
                "its first axis must be the batch",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise PrepareError(
                Reason.MODEL_UNSUPPORTED,
                f"Keras itself returns NaN or infinity in output {name!r}: {_cause_of_nan(model)}",
            )
    return ReferenceCase(inputs, expected)


def _cause_of_nan(model: LoadedModel) -> str:
    for weight in model.keras.weights:
        if weight.dtype.startswith(("float", "bfloat")) and not np.isfinite(weight.numpy().astype(np.float32)).all():
            return f"its weight {weight.path!r} contains NaN or infinity (did the training diverge?)"
    return "if the model needs inputs of a certain range, provide rows in spec.validation.data"
