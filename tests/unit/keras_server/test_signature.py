"""Arrays are checked against the signature before a runtime sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_api.manifest import Tensor
from keras_server.errors import InvalidRequestError
from keras_server.signature import Signature, check_inputs

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
