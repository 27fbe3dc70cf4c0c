"""Long lists of numbers are decoded and encoded in pieces, with the same results and errors as short ones."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from keras_api.manifest import Tensor
from keras_server.errors import InvalidRequestError
from keras_server.protocols import json_tensors
from keras_server.protocols.json_tensors import dump, dump_rows, parse


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few numbers."""
    monkeypatch.setattr(json_tensors, "PIECE_BYTES", 10)
    monkeypatch.setattr(json_tensors, "PIECE_ELEMENTS", 4)


def tensor(dtype: Any, depth: int) -> Tensor:
    return Tensor(name="x", dtype=dtype, shape=[-1] * depth)


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" , ", ": ")], ids=["dense", "Python's", "wide"])
@pytest.mark.parametrize("shape", [(1,), (50,), (1, 50), (50, 1), (9, 3), (5, 2, 3), (2, 2, 2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "uint8"])
def test_a_list_decoded_in_pieces_is_the_same(dtype: str, shape: tuple[int, ...], separators: tuple[str, str]) -> None:
    array = (np.arange(np.prod(shape)) % 7).reshape(shape).astype(dtype)

    found = parse(raw(json.dumps(array.tolist(), separators=separators)), tensor(dtype, len(shape)), len(shape))

    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


MALFORMED = [
    ("[1,2,3,4,5,6,7,8,9,,10]", 1),
    ("[1,2,3,4,5,6,7,8,9,10,]", 1),
    ("[1,2,3,4,56,]", 1),
    ("[[1,2],[3,4],]", 2),
    ("[,1,2,3,4,5,6,7,8,9,10]", 1),
    ("[[1,2],[3,4],[5,6],[7,8],]", 2),
    ("[[1,2],[3,4],[5,6],,[7,8]]", 2),
    ("[[1,2],[3,4],[5,6],[7]]", 2),
    ("[[1,2],[3,4],[5],[7]]", 2),
    ("[[1,2],[3,4],[5,6],7]", 2),
    ("[[1,2],[3,4],[],[7,8]]", 2),
    ("[[[1],[2]],[[3],[4]],[[5]],[[6]]]", 3),
    ("[[1,2],[3,4]],[[5,6],[7,8]]", 2),
    ('[[1,2],[3,4],[5,"6"],[7,8]]', 2),
    ("[[1,2],[3,4],[5,1e39],[7,8]]", 2),
    ("[[1,2],[3,4],[5,null],[7,8]]", 2),
    ("{}          ", 1),
    ("1          ", 1),
]


@pytest.mark.parametrize(("text", "depth"), MALFORMED)
def test_an_error_in_a_long_list_is_the_same(monkeypatch: pytest.MonkeyPatch, text: str, depth: int) -> None:
    with pytest.raises(InvalidRequestError) as at_once:
        parse(raw(text), tensor("float32", depth), depth)
    monkeypatch.setattr(json_tensors, "PIECE_BYTES", 10)

    with pytest.raises(InvalidRequestError) as in_pieces:
        parse(raw(text), tensor("float32", depth), depth)

    assert str(in_pieces.value) == str(at_once.value)


@pytest.mark.usefixtures("pieces")
def test_a_long_list_is_not_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    decoder = json_tensors._decoder

    def recording(*key: Any) -> Any:
        decode = decoder(*key)

        def record(data: Any) -> Any:
            lengths.append(len(data))
            return decode(data)

        return record

    monkeypatch.setattr(json_tensors, "_decoder", recording)

    parse(raw("[" + ",".join(["7"] * 100) + "]"), tensor("float32", 1), 1)

    assert len(lengths) > 10
    assert max(lengths) < 20


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("shape", [(), (0,), (3,), (50,), (1, 50), (50, 1), (9, 3), (5, 2, 3), (2, 2, 2, 30), (0, 3)])
def test_an_array_encoded_in_pieces_is_the_same(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)

    assert json.loads(msgspec.json.encode({"x": dump(array)})) == {"x": array.tolist()}


@pytest.mark.usefixtures("pieces")
def test_numbers_without_a_json_form_are_null_in_every_piece() -> None:
    array = np.array([np.nan, 1] * 10, np.float32)

    assert json.loads(msgspec.json.encode(dump(array))) == [None, 1] * 10


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("rows", [0, 1, 7, 50])
def test_rows_encoded_in_pieces_are_the_same(rows: int) -> None:
    arrays = {"a": np.arange(rows * 2).reshape(rows, 2), "b": np.arange(rows)}

    encoded = msgspec.json.encode(dump_rows(arrays, lambda _, array: array.tolist()))

    assert json.loads(encoded) == [{"a": [2 * row, 2 * row + 1], "b": row} for row in range(rows)]
