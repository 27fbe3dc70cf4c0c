"""Inputs with NaN or infinities are found, whatever their type and shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_server.errors import InvalidRequestError
from keras_server.finite import check_finite, is_finite

TYPES = ["float16", "float32", "float64"]


@pytest.mark.parametrize("size", [0, 1, 5, 1000, 100_000])
@pytest.mark.parametrize("dtype", TYPES)
def test_finite_numbers_pass(dtype: str, size: int) -> None:
    limits = np.finfo(dtype)
    values = [0, -0.0, limits.max, limits.min, limits.smallest_subnormal]

    assert is_finite(np.resize(np.array(values, dtype), size))


@pytest.mark.parametrize("position", [0, 1, 998, 999])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", TYPES)
def test_one_number_that_is_not_finite_is_found(dtype: str, value: float, position: int) -> None:
    for other in (1.0, np.finfo(dtype).max):
        few, many = (np.full(size, other, dtype) for size in (1000, 100_000))
        few[position] = many[100 * position] = value

        assert not is_finite(few)
        assert not is_finite(few.reshape(10, 100).T)
        assert not is_finite(many)


def test_every_number_of_float16_is_known() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)

    found = [is_finite(every[index : index + 1]) for index in range(len(every))]

    np.testing.assert_array_equal(found, np.isfinite(every))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[1, 2], [np.nan, np.inf]], np.float32), "NaN in row 1 at [0]:"),
        (np.array([[[1, 2], [3, -np.inf]]], np.float16), "-Infinity in row 0 at [1, 1]:"),
        (np.array([0, np.inf]), "Infinity in row 1:"),
        (np.array(np.nan), "NaN:"),
    ],
)
def test_the_first_number_is_named_with_its_position(array: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_finite({"a": np.array([1]), "x": array})

    assert str(caught.value).startswith(f"input 'x' has {words}")


def test_other_types_are_not_looked_at() -> None:
    check_finite({"a": np.array([1]), "b": np.array([b"nan"], object), "c": np.array([True])})
