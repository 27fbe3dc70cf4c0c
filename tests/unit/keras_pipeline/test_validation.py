"""The validation set: reading the rows, computing the metrics, and the row and column in an error."""

from __future__ import annotations

import numpy as np
import pytest

from keras_api.manifest import Tensor
from keras_api.reasons import Reason
from keras_api.resource import Requirement
from keras_pipeline.errors import PrepareError
from keras_pipeline.validation import ValidationFile, compute_metrics, read_validation_set


def tensor(name="x", dtype="float32", shape=(-1, 2)):
    return Tensor(name=name, dtype=dtype, shape=list(shape))


@pytest.fixture
def read(tmp_path):
    def read(text, *inputs, label="label"):
        path = tmp_path / "validation.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_validation_set(ValidationFile(path, label), inputs or (tensor(),))

    return read


def test_a_single_input_takes_all_columns_except_the_label_in_order(read):
    rows = read("b,label,a\n1,0,2\n3,1,4\n")
    assert rows.inputs["x"].tolist() == [[1, 2], [3, 4]]
    assert rows.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "inputs", "expected"),
    [
        pytest.param(
            "label,a,b,c,d\n0,1,2,3,4\n", [tensor(shape=(-1, 2, 2))], {"x": [[[1, 2], [3, 4]]]}, id="an image"
        ),
        pytest.param("label,a,b,c\n0,1,2,3\n", [tensor(shape=(-1, -1))], {"x": [[1, 2, 3]]}, id="any length"),
        pytest.param("label,a,b\n0,1,2\n", [tensor(shape=(-1, -1, 1))], {"x": [[[1], [2]]]}, id="a series"),
        pytest.param(
            'label,t\n0,"red, or ""blue"""\n',
            [tensor(dtype="string", shape=(-1, 1))],
            {"x": [['red, or "blue"']]},
            id="text",
        ),
        pytest.param("label,t\n0,x\n", [tensor(dtype="string", shape=(-1,))], {"x": ["x"]}, id="a scalar"),
        pytest.param("label,a,b\n0,1,2.0\n", [tensor(dtype="int32")], {"x": [[1, 2]]}, id="whole numbers"),
        pytest.param(
            "label,a,b\n0,9007199254740993,-1\n", [tensor(dtype="int64")], {"x": [[9007199254740993, -1]]}, id="exact"
        ),
        pytest.param("label,a,b\n0,true,0\n", [tensor(dtype="bool")], {"x": [[True, False]]}, id="booleans"),
        pytest.param("\ufefflabel,a,b\r\n0,1,2\r\n", [tensor()], {"x": [[1, 2]]}, id="from a spreadsheet"),
        pytest.param("label,a,b\n\n0,1,2\n\n", [tensor()], {"x": [[1, 2]]}, id="blank lines"),
        pytest.param(
            "color,size.1,size.0,label\nred,1,2,0\n",
            [tensor("size"), tensor("color", "string", (-1, 1))],
            {"size": [[2, 1]], "color": [["red"]]},
            id="several inputs, by name",
        ),
    ],
)
def test_rows_are_read_as_arrays_of_the_inputs_types(text, inputs, expected, read):
    rows = read(text, *inputs)
    assert {name: array.tolist() for name, array in rows.inputs.items()} == expected
    for item in inputs:
        assert item.dtype == "string" or rows.inputs[item.name].dtype == item.dtype


@pytest.mark.parametrize(
    ("text", "inputs", "words"),
    [
        pytest.param("", [tensor()], "it is empty", id="empty"),
        pytest.param("label,a,b\n", [tensor()], "a header but no rows", id="no rows"),
        pytest.param("a,b\n1,2\n", [tensor()], "no column 'label' (its columns: 'a', 'b')", id="no label"),
        pytest.param("label,a,a\n0,1,2\n", [tensor()], "header contains the column 'a' twice", id="twice"),
        pytest.param(
            "label,a\n0,1\n", [tensor()], "rows of shape [2] (2 values), but the data has 1 columns", id="too few"
        ),
        pytest.param(
            "label,a,b\n0,1,2\n1,2\n", [tensor()], "row 2 has 2 values, but the header has 3", id="a short row"
        ),
        pytest.param("label,a,b\n0,1,2\n1,2,x\n", [tensor()], "row 2, column 'b': 'x' is not a finite", id="a word"),
        pytest.param("label,a,b\n0,1,\n", [tensor()], "row 1, column 'b': ''", id="a gap"),
        pytest.param("label,a,b\n0,nan,2\n", [tensor()], "row 1, column 'a': 'nan'", id="NaN"),
        pytest.param("label,a,b\n0,1.5,2\n", [tensor(dtype="int32")], "'1.5' is not a finite int32", id="a fraction"),
        pytest.param("label,a,b\n0,300,2\n", [tensor(dtype="uint8")], "'300' is not a finite uint8", id="out of range"),
        pytest.param("label,a,b\n0,maybe,1\n", [tensor(dtype="bool")], "'maybe' is not a finite bool", id="no boolean"),
        pytest.param("label,a,b\ncat,1,2\n", [tensor()], "row 1, column 'label': 'cat'", id="a label by name"),
        pytest.param('label,a,b\n0,"1,2\n', [tensor()], "it is not valid CSV", id="an open quote"),
        pytest.param(
            b"label,a,b\n0,\xff,2\n", [tensor()], "its byte 12 is not valid UTF-8: save it as UTF-8", id="latin-1"
        ),
        pytest.param(b"<!DOCTYPE html><html>Sign in", [tensor()], "it is an HTML page", id="a login page"),
        pytest.param(b"\x89PNG\r\n\x1a\n", [tensor()], "it is a PNG image", id="an image"),
        pytest.param(
            "label,q\n0,1\n", [tensor("p"), tensor("q")], "neither a column 'p' nor 'p.0'", id="an input missing"
        ),
        pytest.param(
            "label,p,q,r\n0,1,1,1\n",
            [tensor("p", shape=(-1, 1)), tensor("q", shape=(-1, 1))],
            "no inputs for the columns 'r'",
            id="a column too many",
        ),
    ],
)
def test_the_error_names_the_invalid_part(text, inputs, words, read):
    with pytest.raises(PrepareError) as error:
        read(text, *inputs)
    assert words in error.value.message
    assert error.value.reason == Reason.VALIDATION_DATA_INVALID


def figures(labels, values, *require):
    return compute_metrics(np.array(labels, "float64"), {"y": np.array(values, "float32")}, require)


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        pytest.param([0, 1, 1], [[2, 1], [1, 2], [2, 1]], {"accuracy": "0.666667"}, id="argmax of classes"),
        pytest.param([5], [[1]], {"mean_absolute_error": "4", "mean_squared_error": "16"}, id="a regression"),
        pytest.param(
            [1, 0, 1, 0],
            [[0.5], [0.25], [0.25], [0.75]],
            {"accuracy": "0.5", "mean_absolute_error": "0.5625", "mean_squared_error": "0.359375"},
            id="a sigmoid",
        ),
    ],
)
def test_metrics_that_apply_to_the_output_are_computed(labels, values, expected):
    assert figures(labels, values) == expected


@pytest.mark.parametrize(
    ("require", "words"),
    [
        (Requirement(metric="accuracy", min="0.76"), "accuracy is 0.75 on 4 rows, below the required 0.76"),
        (Requirement(metric="accuracy", max="0.7"), "accuracy is 0.75 on 4 rows, above the allowed 0.7"),
        (Requirement(metric="accuracy", min="0.75", max="0.75"), None),
        (Requirement(metric="accuracy", min="7.5e-1"), None),
    ],
)
def test_bounds_are_compared_exactly(require, words):
    labels, values = [0, 0, 0, 1], [[1, 0]] * 4
    if words is None:
        assert figures(labels, values, require) == {"accuracy": "0.75"}
        return
    with pytest.raises(PrepareError) as error:
        figures(labels, values, require)
    assert error.value.message == f"{words}: serve a better model, or change spec.validation.require"
    assert error.value.reason == Reason.VALIDATION_FAILED


@pytest.mark.parametrize(
    ("labels", "values", "metric", "words"),
    [
        pytest.param([0, 3], [[1, 0], [0, 1]], "accuracy", "row 2: label 3 is not a class from 0 to 1", id="no class"),
        pytest.param([0.5], [[1, 0]], "accuracy", "row 1: label 0.5 is not a class", id="a fraction"),
        pytest.param([1], [[7.0]], "accuracy", "is not the output of a sigmoid", id="a logit"),
        pytest.param([1], [[0, 1]], "mean_absolute_error", "has 2 values per row", id="an error over classes"),
    ],
)
def test_the_error_contains_why_a_metric_does_not_apply(labels, values, metric, words):
    with pytest.raises(PrepareError) as error:
        figures(labels, values, Requirement(metric=metric, min="0"))
    assert words in error.value.message
    assert error.value.reason == Reason.VALIDATION_DATA_INVALID


def test_metrics_of_a_model_with_two_outputs_are_an_error():
    with pytest.raises(PrepareError, match=r"2 outputs \(a, b\)"):
        compute_metrics(np.zeros(1), {"a": np.zeros((1, 1)), "b": np.zeros((1, 1))}, [])
