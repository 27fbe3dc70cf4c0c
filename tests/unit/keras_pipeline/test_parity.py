"""The comparison of a converted model with Keras, on outputs made for each test."""

from __future__ import annotations

import numpy as np
import pytest

from keras_pipeline.errors import ConversionError, ParityError
from keras_pipeline.parity import ReferenceCase, check_parity
from keras_runtimes.tolerance import FULL_PRECISION, HALF_PRECISION


class FakeRuntime:
    """A runtime that returns the given outputs, one after another."""

    def __init__(self, *answers):
        self._answers = iter(answers)

    def run(self, arrays):
        return next(self._answers)


def cases(*expected):
    return [ReferenceCase({"x": np.zeros((len(next(iter(e.values()))), 1), "float32")}, e) for e in expected]


def floats(*rows, dtype="float32"):
    return np.array(rows, dtype=dtype)


WANT = floats([0.1, 0.9], [0.8, 0.2])


def verdict(want, got, tolerance=FULL_PRECISION):
    return check_parity(FakeRuntime({"y": got}), cases({"y": want}), tolerance)


@pytest.mark.parametrize(
    ("want", "got", "tolerance"),
    [
        pytest.param(WANT, WANT, FULL_PRECISION, id="the same"),
        pytest.param(WANT, WANT + np.float32(1e-6), FULL_PRECISION, id="rounding"),
        pytest.param(WANT * 1000, WANT * 1000.5, FULL_PRECISION, id="within the relative bound"),
        pytest.param(floats([5000, 0]), floats([5000, 0.01]), FULL_PRECISION, id="near zero in a map of a large scale"),
        pytest.param(floats([-np.inf, 1]), floats([-np.inf, 1]), FULL_PRECISION, id="an infinity in place"),
        pytest.param(floats([np.nan, 1]), floats([np.nan, 1]), FULL_PRECISION, id="NaN in place"),
        pytest.param(WANT, WANT * np.float32(1.008), HALF_PRECISION, id="half precision"),
        pytest.param(floats([0.500001, 0.5]), floats([0.5, 0.500001]), FULL_PRECISION, id="a tie falls the other way"),
        pytest.param(floats([3.0]), floats([3.0]), FULL_PRECISION, id="one number"),
        pytest.param(np.array(["a", "b"]), np.array(["a", "b"]), FULL_PRECISION, id="strings"),
        pytest.param(np.array([[1, 2]]), np.array([[1, 2]]), FULL_PRECISION, id="whole numbers"),
    ],
)
def test_outputs_within_the_tolerance_pass(want, got, tolerance):
    assert verdict(want, got, tolerance).agreement == "1"


@pytest.mark.parametrize(
    ("got", "words"),
    [
        pytest.param(WANT * np.float32(1.01), "more than rtol 0.001, atol 1e-05", id="right argmax, wrong values"),
        pytest.param(WANT[:, ::-1], "argmax agreement 0", id="swapped columns"),
        pytest.param(floats([0.1, np.nan], [0.8, 0.2]), "NaN or infinity", id="NaN"),
        pytest.param(floats([0.1, np.inf], [0.8, 0.2]), "NaN or infinity", id="an infinity"),
        pytest.param(WANT.astype("float64"), "has type float64, not float32", id="another type"),
        pytest.param(WANT[:1], "has shape [1, 2], not [2, 2]", id="rows lost"),
        pytest.param(WANT[..., None], "has shape [2, 2, 1], not [2, 2]", id="another rank"),
    ],
)
def test_the_error_contains_the_figures_of_outputs_that_differ(got, words):
    with pytest.raises(ParityError) as error:
        verdict(WANT, got)
    assert words in str(error.value)


def test_close_values_with_another_argmax_fail():
    with pytest.raises(ParityError, match="the argmax agrees in too few rows"):
        verdict(floats([1.0004, 1.0]), floats([1.0, 1.0004]))


def test_outputs_are_compared_by_name():
    with pytest.raises(ParityError, match=r"named \['z'\], not \['y'\]"):
        check_parity(FakeRuntime({"z": WANT}), cases({"y": WANT}), FULL_PRECISION)


def test_strings_must_be_equal():
    with pytest.raises(ParityError, match="'y' differs"):
        verdict(np.array(["a", "b"]), np.array(["a", "c"]))


def test_the_error_names_the_one_batch_that_differs():
    seven = np.tile(WANT[:1], (7, 1))
    with pytest.raises(ParityError, match="in a batch of 7"):
        check_parity(
            FakeRuntime({"y": WANT[:1]}, {"y": seven + np.float32(0.5)}),
            cases({"y": WANT[:1]}, {"y": seven}),
            FULL_PRECISION,
        )


def test_the_figures_are_the_largest_of_all_outputs_and_batches():
    off = np.float32(1e-6)
    parity = check_parity(
        FakeRuntime({"a": WANT, "b": WANT + off}, {"a": WANT, "b": WANT}),
        cases({"a": WANT, "b": WANT}, {"a": WANT, "b": WANT}),
        FULL_PRECISION,
    )
    assert float(parity.max_abs_error) == pytest.approx(1e-6, rel=0.1)
    assert parity.rows == 4


class Rejecting(FakeRuntime):
    """A runtime that rejects inputs after the last answer."""

    def run(self, arrays):
        try:
            return super().run(arrays)
        except StopIteration:
            raise ConversionError("out of range") from None


def rejected_case():
    return ReferenceCase({"x": np.zeros((2, 1), "float32")}, None, "-1 in input 'x'")


def test_inputs_that_keras_rejects_must_be_rejected():
    with pytest.raises(ParityError, match="answers inputs that Keras rejects in a batch of 2, with -1 in input 'x'"):
        check_parity(FakeRuntime({"y": WANT}, {"y": WANT}), [*cases({"y": WANT}), rejected_case()], FULL_PRECISION)


def test_a_runtime_that_rejects_what_keras_rejects_agrees():
    runtime = Rejecting({"y": WANT})
    assert check_parity(runtime, [*cases({"y": WANT}), rejected_case()], FULL_PRECISION).rows == 2


def test_differences_at_the_edges_count_but_are_not_published():
    edge = ReferenceCase({"x": np.zeros((2, 1), "float32")}, {"y": WANT * 1000}, "large numbers")
    parity = check_parity(
        FakeRuntime({"y": WANT}, {"y": WANT * 1000 + np.float32(0.01)}), [*cases({"y": WANT}), edge], FULL_PRECISION
    )
    assert float(parity.max_abs_error) == 0
    with pytest.raises(ParityError, match="large numbers among the inputs"):
        check_parity(FakeRuntime({"y": WANT}, {"y": WANT * 1010}), [*cases({"y": WANT}), edge], FULL_PRECISION)
