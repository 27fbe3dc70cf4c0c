"""Arrays are checked against the signature before a runtime sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_api.manifest import Tensor
from keras_server.errors import InferenceError, InvalidRequestError
from keras_server.signature import Signature, check_inputs, check_outputs, row_example

SIGNATURE = Signature(
    {
        "a": Tensor(name="a", dtype="float32", shape=[-1, 2]),
        "b": Tensor(name="b", dtype="int64", shape=[-1]),
    },
    {},
)
A = np.zeros((3, 2), np.float32)
B = np.zeros(3, np.int64)


def test_the_number_of_rows_is_the_first_axis() -> None:
    assert check_inputs(SIGNATURE, {"a": A, "b": B}, max_rows=3) == 3


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"a": A}, "input 'b' is missing; the model's inputs are 'a' float32 [-1, 2], 'b' int64 [-1]"),
        ({}, "input 'a', 'b' is missing"),
        ({"a": A, "b": B, "c": B}, "the model has no input 'c'"),
        ({"a": A.astype(np.float64), "b": B}, "input 'a' is float64; the model takes float32"),
        ({"a": np.zeros((3, 4), np.float32), "b": B}, "input 'a' has shape [3, 4]; the model takes [-1, 2]"),
        ({"a": np.zeros(2, np.float32), "b": B}, "input 'a' has shape [2]; the model takes [-1, 2]"),
        ({"a": A, "b": B[:2]}, "the inputs differ in their number of rows: 'a' has 3, 'b' has 2"),
        ({"a": A[:0], "b": B[:0]}, "0 rows in one request; the server takes 1 to 4"),
        ({"a": np.zeros((5, 2), np.float32), "b": np.zeros(5, np.int64)}, "5 rows in one request"),
    ],
)
def test_arrays_that_do_not_fit_are_rejected_by_name(arrays: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_inputs(SIGNATURE, arrays, max_rows=4)

    assert complaint in str(caught.value)


def test_a_fixed_shape_counts_as_one_row() -> None:
    fixed = Signature({"a": Tensor(name="a", dtype="float32", shape=[5])}, {})

    assert check_inputs(fixed, {"a": np.zeros(5, np.float32)}, max_rows=1) == 1


def free(shape: list[int], **limits: list[int]) -> Signature:
    return Signature({"a": Tensor(name="a", dtype="float32", shape=shape, **limits)}, {})


@pytest.mark.parametrize(
    ("signature", "shape", "complaint"),
    [
        (free([-1, -1]), [2, 1], None),
        (free([-1, -1]), [2, 0], "input 'a' has size 0 in axis 1 of its shape [2, 0]; the model takes 1 or more"),
        (free([-1, 2, -1]), [2, 2, 0], "input 'a' has size 0 in axis 2"),
        (free([-1, 0]), [2, 0], None),
        (free([-1, -1], min_shape=[1, 16], max_shape=[-1, 512]), [1, 16], None),
        (free([-1, -1], min_shape=[1, 16], max_shape=[-1, 512]), [1, 512], None),
        (free([-1, -1], min_shape=[1, 16], max_shape=[-1, 512]), [1, 15], "has size 15 in axis 1"),
        (free([-1, -1], min_shape=[1, 16], max_shape=[-1, 512]), [1, 513], "the model takes 16 to 512"),
        (free([-1, -1], min_shape=[1, 16]), [1, 15], "the model takes 16 or more"),
        (free([-1, -1], max_shape=[-1, 512]), [1, 513], "the model takes 1 to 512"),
        (free([-1, -1], max_shape=[2, -1]), [3, 9], "has size 3 in axis 0 of its shape [3, 9]; the model takes 0 to 2"),
    ],
)
def test_free_axes_have_the_sizes_that_the_model_accepts(
    signature: Signature, shape: list[int], complaint: str | None
) -> None:
    arrays = {"a": np.zeros(shape, np.float32)}

    if complaint is None:
        assert check_inputs(signature, arrays, max_rows=4) == shape[0]
        return
    with pytest.raises(InvalidRequestError) as caught:
        check_inputs(signature, arrays, max_rows=4)
    assert complaint in str(caught.value)


def answering(shape: list[int], *, batch: int = -1) -> Signature:
    return Signature(
        {"a": Tensor(name="a", dtype="float32", shape=[batch])}, {"y": Tensor(name="y", dtype="float32", shape=shape)}
    )


@pytest.mark.parametrize(
    ("signature", "shape", "complaint"),
    [
        (answering([-1, 4]), [3, 4], None),
        (answering([-1, 4]), [3, 5], "output 'y' has shape [3, 5], not [3, 4]"),
        (answering([-1, 4]), [2, 4], "output 'y' has shape [2, 4], not [3, 4]"),
        (answering([-1, 4]), [3], "output 'y' has shape [3], not [3, 4]"),
        (answering([-1, -1]), [3, 9], None),
        (answering([3, 4]), [3, 4], None),
        (answering([4]), [3], "output 'y' has shape [3], not [4]"),
        (answering([]), [], None),
        (answering([-1, 4], batch=2), [7, 4], None),
    ],
)
def test_outputs_have_the_declared_shape_and_a_row_for_each_row(
    signature: Signature, shape: list[int], complaint: str | None
) -> None:
    arrays = {"y": np.zeros(shape, np.float32)}

    if complaint is None:
        check_outputs(signature, arrays, rows=3, runtime="onnxruntime")
        return
    with pytest.raises(InferenceError) as caught:
        check_outputs(signature, arrays, rows=3, runtime="onnxruntime")
    assert complaint in str(caught.value)
    assert str(caught.value).endswith("set spec.serving.runtime: tensorflow")


@pytest.mark.parametrize(
    ("dtype", "shape", "form"),
    [
        ("float32", [-1, 28, 28, 1], "a row of 'x' has shape [28, 28, 1] and looks like [[[0.0], ...], ...]"),
        ("int64", [-1, -1], "a row of 'x' has shape [-1] and looks like [0, ...]"),
        ("bool", [-1, 2], "a row of 'x' has shape [2] and looks like [false, false]"),
        ("string", [-1], """a row of 'x' has shape [] and looks like "text\""""),
    ],
)
def test_the_form_of_a_row(dtype: Any, shape: list[int], form: str) -> None:
    assert row_example(Tensor(name="x", dtype=dtype, shape=shape)) == form
