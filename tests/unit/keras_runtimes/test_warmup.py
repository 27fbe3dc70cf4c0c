"""Warm-up compares with what Keras answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from keras_api.manifest import ModelSummary, Parity, Tensor
from keras_runtimes.golden import Golden
from keras_runtimes.tolerance import FULL_PRECISION
from keras_runtimes.warmup import GoldenMismatchError, check, warm_up

Y = np.array([1.0, 2.0], np.float32)


@pytest.mark.parametrize(
    ("given", "golden"),
    [
        (Y + 1e-6, Y),
        (Y * 1.0009, Y),
        (np.array([np.nan, np.inf], np.float32), np.array([np.nan, np.inf], np.float32)),
        (np.array([1, 2]), np.array([1, 2])),
        (np.array([b"a"], dtype=object), np.array([b"a"], dtype=object)),
    ],
)
def test_answers_within_tolerance_pass(given: Any, golden: Any) -> None:
    check({"y": given}, {"y": golden}, FULL_PRECISION)


@pytest.mark.parametrize(
    ("given", "golden", "complaint"),
    [
        (Y * 1.01, Y, "differs from the golden answer by up to 0.02"),
        (np.array([np.nan, 2], np.float32), Y, "output 'y' differs"),
        (np.array([np.nan, np.nan], np.float32), Y, "output 'y' differs"),
        (np.array([1, 3]), np.array([1, 2]), "output 'y' differs"),
        (np.array([b"b"], dtype=object), np.array([b"a"], dtype=object), "output 'y' differs"),
        (Y.astype(np.float64), Y, "output 'y' is float64 [2]; the golden answer is float32 [2]"),
        (np.array([np.inf, 2], np.float32), Y, "differs from the golden answer by up to inf"),
        (Y[:1], Y, "output 'y' is float32 [1]; the golden answer is float32 [2]"),
    ],
)
def test_answers_that_differ_are_named(given: Any, golden: Any, complaint: str) -> None:
    with pytest.raises(GoldenMismatchError) as caught:
        check({"y": given}, {"y": golden}, FULL_PRECISION)

    assert complaint in str(caught.value)


class Doubling:
    """A runtime that doubles x, and remembers how many rows it was given."""

    def __init__(self, wrong_above: float = np.inf) -> None:
        self.rows: list[int] = []
        self._wrong_above = wrong_above

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        x = inputs["x"]
        self.rows.append(len(x))
        return {"y": x * 2 if len(x) < self._wrong_above else x}


def model(*shape: int, max_abs_error: str = "0", **fields: Any) -> ModelSummary:
    tensor = Tensor(name="x", dtype="float32", shape=list(shape))
    return ModelSummary(
        digest="sha256:" + "0" * 64,
        size_bytes=1,
        keras_version="",
        parameters=0,
        inputs=[tensor],
        outputs=[Tensor(name="y", dtype="float32", shape=list(shape))],
        runtime="onnxruntime",
        parity=Parity(max_abs_error=max_abs_error, agreement="1", rows=1),
        **fields,
    )


GOLDEN = Golden({"x": Y}, {"y": Y * 2})


def test_the_golden_rows_are_run_in_several_batch_sizes() -> None:
    runtime = Doubling()

    warm_up(runtime, model(-1), GOLDEN)

    assert runtime.rows == [2, 1, 32]


def test_a_model_of_fixed_batch_size_is_run_in_that_size() -> None:
    runtime = Doubling()

    warm_up(runtime, model(2), GOLDEN)

    assert runtime.rows == [2]


def test_a_fault_that_shows_in_large_batches_only_is_found() -> None:
    with pytest.raises(GoldenMismatchError):
        warm_up(Doubling(wrong_above=32), model(-1), GOLDEN)


def test_the_measured_difference_of_prepare_widens_the_tolerance() -> None:
    golden = Golden({"x": Y}, {"y": Y * 2 + 0.05})

    warm_up(Doubling(), model(-1, max_abs_error="0.01"), golden)
    with pytest.raises(GoldenMismatchError):
        warm_up(Doubling(), model(-1), golden)


def test_half_precision_in_the_manifest_widens_the_tolerance() -> None:
    golden = Golden({"x": Y}, {"y": Y * 2 * 1.005})

    warm_up(Doubling(), model(-1, half_precision=True), golden)
    with pytest.raises(GoldenMismatchError):
        warm_up(Doubling(), model(-1), golden)


def test_a_model_whose_rows_depend_on_each_other_gets_one_row_at_a_time() -> None:
    runtime = Doubling(wrong_above=2)

    warm_up(runtime, model(-1, rows_independent=False), GOLDEN)

    assert runtime.rows == [1, 1]


def test_a_wrong_row_among_several_is_found_when_rows_run_alone() -> None:
    golden = Golden({"x": Y}, {"y": np.array([2.0, 5.0], np.float32)})

    with pytest.raises(GoldenMismatchError, match="by up to 1"):
        warm_up(Doubling(), model(-1, rows_independent=False), golden)
