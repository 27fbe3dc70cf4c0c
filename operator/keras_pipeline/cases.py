"""The rows that a conversion is judged by: the user's own where given, else probes, with what Keras answers to them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_api.reasons import Reason
from keras_pipeline.arrays import Arrays, concatenate, rows_of, take
from keras_pipeline.errors import PrepareError
from keras_pipeline.loading import Model
from keras_pipeline.parity import Case
from keras_pipeline.runtimes import Runtime
from keras_pipeline.synthetic_inputs import SyntheticInputs
from keras_pipeline.validation import ValidationSet

# One row and an odd number of them, because conversions like to fix the batch they have seen; then some more to count.
BATCHES = (1, 7, 24)
STRETCH = 1.5  # and another length, for the same reason
METRIC_BATCH = 32
GOLDEN_ROWS = 8
# Keras keeps every layer's output of a batch: 24 pictures of 224 x 224 take over 2 GiB. So where not the rule but
# memory decides on the size of a batch, it holds no more numbers than this.
MAX_BATCH_VALUES = 1 << 20


def reference_cases(model: Model, validation: ValidationSet | None) -> list[Case]:
    """Inputs in several batch sizes (and lengths, where the model leaves them free) with Keras's answers.

    Raises:
        PrepareError: MODEL_UNSUPPORTED when Keras cannot run them, or answers with NaN.
    """
    probes = SyntheticInputs(model)
    if validation is None:
        one = probes.batch(BATCHES[0])
        batches = [one, probes.batch(BATCHES[1], STRETCH), probes.batch(_affordable(BATCHES[2], one))]
    else:
        batches = list(_cyclic_batches(validation.inputs))
        if model.free_inputs:
            batches.append(probes.batch(BATCHES[1], STRETCH))
    return [_case(model, batch) for batch in batches]


def golden_case(model: Model, validation: ValidationSet | None) -> Case:
    """The rows that go into the bundle."""
    if validation is None:
        probes = SyntheticInputs(model)
        return _case(model, probes.batch(_affordable(GOLDEN_ROWS, probes.batch(1))))
    return _case(model, take(validation.inputs, 0, _affordable(GOLDEN_ROWS, take(validation.inputs, 0, 1))))


def run_in_batches(runtime: Runtime, inputs: Arrays) -> Arrays:
    """A runtime's answers to any number of rows, with bounded memory."""
    size = _affordable(METRIC_BATCH, take(inputs, 0, 1))
    return concatenate([runtime.run(take(inputs, start, start + size)) for start in range(0, rows_of(inputs), size)])


def _cyclic_batches(inputs: Arrays) -> Iterator[Arrays]:
    """Batches of a validation set; a short one is used again from its start."""
    start = 0
    for size in (BATCHES[0], BATCHES[1], _affordable(BATCHES[2], take(inputs, 0, 1))):
        places = np.arange(start, start + size) % rows_of(inputs)
        yield {name: array[places] for name, array in inputs.items()}
        start += size


def _affordable(rows: int, one: Arrays) -> int:
    """So many rows like the given one, or fewer when they are large."""
    return max(1, min(rows, MAX_BATCH_VALUES // max(1, sum(array.size for array in one.values()))))


def _case(model: Model, inputs: Arrays) -> Case:
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
                Reason.MODEL_UNSUPPORTED, f"Keras itself answers NaN or infinity in output {name!r}: {_why(model)}"
            )
    return Case(inputs, expected)


def _why(model: Model) -> str:
    for weight in model.keras.weights:
        if weight.dtype.startswith(("float", "bfloat")) and not np.isfinite(weight.numpy().astype(np.float32)).all():
            return f"its weight {weight.path!r} holds NaN or infinity (the training diverged?)"
    return "if it needs inputs of a special range, give some in spec.validation.data"
