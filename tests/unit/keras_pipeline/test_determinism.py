"""The comparison of two runs on the same inputs. Real models are integration tests."""

from __future__ import annotations

import numpy as np
import pytest

from keras_api.reasons import Reason
from keras_pipeline.determinism import check_deterministic
from keras_pipeline.errors import PrepareError

X = {"x": np.zeros((1, 3), "float32")}


def answering(*outputs: dict[str, np.ndarray]):
    """A model that gives one answer after the other."""
    answers = iter(outputs)
    return lambda _: next(answers)


def output(*values, dtype="float32") -> dict[str, np.ndarray]:
    return {"fixed": np.ones(2, "float32"), "y": np.array(values, dtype)}


SAME = {
    "equal": (output(1, 2), output(1, 2)),
    "another order of the sum": (output(1000, 0.001), output(1000.0001, 0.0010001)),
    "NaN and infinity": (output(np.nan, np.inf, -np.inf), output(np.nan, np.inf, -np.inf)),
    "rounding of half precision": (output(1, 2, dtype="float16"), output(1.001, 2.002, dtype="float16")),
    "texts": (output("a", "b", dtype=str), output("a", "b", dtype=str)),
    "integers": (output(1, 2, dtype="int64"), output(1, 2, dtype="int64")),
    "nothing": (output(), output()),
}
DIFFERENT = {
    "noise": (output(1, 2), output(1, 2.01)),
    "noise of one that is small": (output(1e-6, 2e-6), output(1e-6, 2.1e-6)),
    "NaN by chance": (output(1, 2), output(1, np.nan)),
    "the other infinity": (output(np.inf), output(-np.inf)),
    "a text": (output("a", "b", dtype=str), output("a", "c", dtype=str)),
    "an integer": (output(1, 2, dtype="int64"), output(1, 3, dtype="int64")),
    "a size": (output(1, 2), output(1, 2, 3)),
}


@pytest.mark.parametrize(("first", "second"), SAME.values(), ids=SAME)
def test_two_runs_that_are_equal_except_for_rounding_are_deterministic(first, second):
    check_deterministic(answering(first, second), X)


@pytest.mark.parametrize(("first", "second"), DIFFERENT.values(), ids=DIFFERENT)
def test_the_error_names_the_output_that_differs(first, second):
    with pytest.raises(PrepareError, match=r"answers at random: output 'y' differs") as rejection:
        check_deterministic(answering(first, second), X)
    assert rejection.value.reason == Reason.MODEL_UNSUPPORTED
    assert "`training`" in rejection.value.message
