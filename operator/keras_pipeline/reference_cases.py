"""The inputs on which a converted model is compared with Keras, and the outputs of Keras for them.

The inputs are the user's validation rows, or synthetic inputs if there are none, and batches with values at the edges
of the domains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from keras_api.manifest import ANY_SIZE, Tensor
from keras_api.reasons import Reason
from keras_pipeline.arrays import Arrays, concatenate, rows_of, take
from keras_pipeline.consistency import call_differs, check_rows_independent, first_difference
from keras_pipeline.determinism import check_deterministic
from keras_pipeline.edge_inputs import EDGE_ROWS, edges
from keras_pipeline.errors import PrepareError
from keras_pipeline.input_sizes import AcceptedSizes, Trial, accepted_sizes, other_sizes
from keras_pipeline.input_source import (
    NEEDS_ROWS,
    InputSource,
    affordable,
    describe_shapes,
    has_answers,
    has_nan,
    row_limit,
    synthetic_source,
    validation_source,
)
from keras_pipeline.loading import KerasRunError, LoadedModel, supported_dtype
from keras_pipeline.parity import ReferenceCase
from keras_pipeline.runtimes import Runtime
from keras_pipeline.synthetic_inputs import SyntheticInputs
from keras_pipeline.validation import ValidationSet
from keras_runtimes.arrays import Array
from keras_runtimes.tolerance import Tolerance

# One row and an odd number of rows, because a conversion may fix the batch size it was made with; then more rows for
# the argmax agreement.
BATCHES = (1, 7, 24)
METRIC_BATCH = 32
GOLDEN_ROWS = 8


@dataclass(frozen=True)
class References:
    """What Keras answers.

    Attributes:
        inputs: the model's inputs, with the sizes that it accepts.
        outputs: the model's outputs, as Keras answers them: what it declares for a lookup is not what that returns.
        cases: for the comparison with a runtime.
        overflow_cases: inputs beyond the range of half precision, where a difference is a warning.
        golden: the golden rows of the bundle.
        warnings: where Keras differs from itself.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    cases: list[ReferenceCase]
    overflow_cases: list[ReferenceCase]
    golden: ReferenceCase
    warnings: list[str] = field(default_factory=list)


def references(
    model: LoadedModel, validation: ValidationSet | None, tolerance: Tolerance, *, rows_independent: bool = True
) -> References:
    """Run Keras on inputs of several batch sizes, of several sizes of free axes, and at the edges of the domains.

    Args:
        model: the model.
        validation: the user's rows, which replace the synthetic inputs.
        tolerance: how much answers may differ that should be equal.
        rows_independent: whether the answer for a row must not depend on other rows; otherwise every case has one row.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, if Keras runs none of the inputs, returns only NaN, or differs from itself.
    """
    _check_weights(model)
    synthetic = SyntheticInputs(model)
    if validation is None:
        source = synthetic_source(model, synthetic, rows=BATCHES[1] if rows_independent else 1)
    else:
        source = validation_source(model, validation)
    accepted = _accepted_sizes(model, source, tolerance)
    batches = list(_ordinary_batches(model, source, accepted))
    if not rows_independent:
        batches = [row for batch in batches for row in _single_rows(batch)]
    cases = [_run_ordinary(model, batch, validated=validation is not None) for batch in batches]
    if not any(has_answers(case.expected) for case in cases if case.expected):
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED,
            f"Keras itself returns only NaN for inputs of shape {describe_shapes(cases[0].inputs)}{NEEDS_ROWS}",
        )
    check_deterministic(model.run, cases[0].inputs, model.keras)
    if rows_independent:
        check_rows_independent(model, cases[1].inputs, cases[1].expected or {}, tolerance)
    edge_rows = take(source.batch(affordable(EDGE_ROWS, batches[0]), source.sizes), 0, None if rows_independent else 1)
    at_edges = [
        (edge.overflows_half, case)
        for edge in edges(synthetic, model.inputs, edge_rows, source.guess)
        if (case := _run_edge(model, edge.inputs, edge.kind)) is not None
    ]
    warning = call_differs(model, cases[0].inputs, cases[0].expected or {}, tolerance)
    return References(
        inputs=[accepted.limit(tensor) for tensor in model.inputs],
        outputs=_outputs(model, cases),
        cases=[*cases, *(case for overflows, case in at_edges if not overflows)],
        overflow_cases=[case for overflows, case in at_edges if overflows and case.expected is not None],
        golden=_golden(model, source, rows_independent=rows_independent),
        warnings=[warning] if warning else [],
    )


def run_in_batches(runtime: Runtime, inputs: Arrays, *, rows_independent: bool = True) -> Arrays:
    """The outputs of a runtime for any number of rows, in bounded memory."""
    size = affordable(METRIC_BATCH, take(inputs, 0, 1)) if rows_independent else 1
    return concatenate([runtime.run(take(inputs, start, start + size)) for start in range(0, rows_of(inputs), size)])


def _accepted_sizes(model: LoadedModel, source: InputSource, tolerance: Tolerance) -> AcceptedSizes:
    """The sizes for which the exported graph answers like `predict`.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, if it does so for no size.
    """
    if not model.free_inputs:
        return AcceptedSizes()

    def difference(trial: Trial) -> str | None:
        batches = _with_zeros(source.trial(2, trial))
        batch = next((batch for batch in batches if _answers(model.run_exported, batch)), batches[0])
        try:
            return first_difference(model.run(batch), model.run_exported(batch), tolerance)
        except KerasRunError as error:
            return str(error)

    def runs(trial: Trial) -> bool:
        return any(_answers(model.run_exported, batch) for batch in _with_zeros(source.trial(1, trial)))

    if found := difference(Trial(source.sizes)):
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED,
            f"Keras answers model.predict(x) otherwise than the exported model: {found}. A layer (TimeDistributed, for "
            f"example) needs sizes that the model leaves free: set a fixed shape for {_names(model.free_inputs)}, and "
            "save the model again",
        )
    if not source.uniform:
        return AcceptedSizes()

    def agrees(trial: Trial) -> bool:
        return not difference(trial)

    # The exported graph is traced once, whereas `predict` traces each size: it is asked about the ends only, at first.
    accepted = accepted_sizes(model.inputs, source.sizes, runs, agrees)
    if not all(map(agrees, accepted.ends)):
        accepted = accepted_sizes(model.inputs, source.sizes, lambda trial: runs(trial) and agrees(trial), agrees)
    return accepted


def _ordinary_batches(model: LoadedModel, source: InputSource, accepted: AcceptedSizes) -> Iterator[Arrays]:
    good = source.sizes
    one = source.batch(BATCHES[0], good)
    yield one
    others = (source.batch(BATCHES[1], sizes) for sizes in (other_sizes(good) if model.free_inputs else ()))
    accepted_others = (b for b in others if _answers(model.run_exported, b) and _answers(model.run, b))
    yield next(accepted_others, source.batch(BATCHES[1], good))
    yield source.batch(affordable(BATCHES[2], one), good)
    at_ends = (source.trial(BATCHES[0], trial) for trial in accepted.ends)
    yield from (batch for batch in at_ends if _answers(model.run, batch))


def _with_zeros(batch: Arrays) -> tuple[Arrays, ...]:
    """A batch, and the same with zeros for ids: they may count the elements of another input, and so limit its size."""
    if not any(array.dtype.kind in "iu" for array in batch.values()):
        return (batch,)
    return batch, {name: np.zeros_like(a) if a.dtype.kind in "iu" else a for name, a in batch.items()}


def _answers(run: Callable[[Arrays], Arrays], batch: Arrays) -> bool:
    try:
        return has_answers(run(batch))
    except (KerasRunError, MemoryError):
        return False


def _single_rows(batch: Arrays) -> list[Arrays]:
    return [take(batch, row, row + 1) for row in range(min(rows_of(batch), GOLDEN_ROWS))]


def _run_ordinary(model: LoadedModel, inputs: Arrays, *, validated: bool) -> ReferenceCase:
    try:
        expected = model.run(inputs)
    except KerasRunError as error:
        whose = " of spec.validation.data" if validated else ""
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED,
            f"Keras cannot run the model on rows{whose} of shape {describe_shapes(inputs)}: {error}"
            f"{row_limit(model, inputs) or ('' if validated else NEEDS_ROWS)}",
        ) from error
    for name, array in expected.items():
        if array.shape[:1] != (rows_of(inputs),):
            raise PrepareError(
                Reason.MODEL_UNSUPPORTED,
                f"output {name!r} has shape {list(array.shape)} for {rows_of(inputs)} rows: "
                "its first axis must be the batch",
            )
    return ReferenceCase(inputs, expected)


def _run_edge(model: LoadedModel, inputs: Arrays, kind: str) -> ReferenceCase | None:
    """The case of an edge; None where the model computes NaN, which oneDNN hides behind a number in `predict` only."""
    try:
        expected = model.run(inputs)
        if has_nan(model.run_eagerly(inputs)) and not has_nan(expected):
            return None
    except KerasRunError:
        return ReferenceCase(inputs, None, kind)
    return ReferenceCase(inputs, expected, kind)


def _golden(model: LoadedModel, source: InputSource, *, rows_independent: bool) -> ReferenceCase:
    rows = affordable(GOLDEN_ROWS, source.golden(1))
    inputs = source.golden(rows)
    parts = [inputs] if rows_independent else _single_rows(inputs)
    return ReferenceCase(inputs, concatenate([model.run(part) for part in parts]))


def _outputs(model: LoadedModel, cases: list[ReferenceCase]) -> list[Tensor]:
    """Names, types and shapes of the answers. An axis is fixed where all answers, and Keras, agree on its size."""
    return [
        _output(name, declared.shape, [case.expected[name] for case in cases if case.expected])
        for name, declared in zip(model.output_names, model.keras.outputs, strict=True)
    ]


def _output(name: str, declared: tuple[int | None, ...], answers: list[Array]) -> Tensor:
    ranks = {answer.ndim for answer in answers}
    if len(ranks) > 1:
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED,
            f"output {name!r} has {' or '.join(map(str, sorted(ranks)))} axes: it must have one form",
        )
    dtype = "string" if answers[0].dtype.kind == "U" else answers[0].dtype.name
    shape = [ANY_SIZE]
    for axis in range(1, answers[0].ndim):
        sizes = {answer.shape[axis] for answer in answers}
        free = len(declared) == answers[0].ndim and declared[axis] is None
        shape.append(ANY_SIZE if free or len(sizes) > 1 else sizes.pop())
    return Tensor(name=name, dtype=supported_dtype("output", name, dtype), shape=shape)


def _names(names: list[str]) -> str:
    return ", ".join(map(repr, names))


def _check_weights(model: LoadedModel) -> None:
    """See that no weight is NaN or infinite.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, naming the weight.
    """
    for weight in model.keras.weights:
        if weight.dtype.startswith(("float", "bfloat")) and not np.isfinite(weight.numpy().astype(np.float32)).all():
            raise PrepareError(
                Reason.MODEL_UNSUPPORTED,
                f"the weight {weight.path!r} of the model contains NaN or infinity (did the training diverge?): "
                "train it again, with a smaller learning rate for example",
            )
