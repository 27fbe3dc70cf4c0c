"""The validation set: reads the inputs and labels from a CSV file with a header, and computes metrics.

A model with one input takes all columns except the label, in order, reshaped to the shape of the input. A model with
several inputs takes for each the column `name` (one value per row) or the columns `name.0`, `name.1`, ...
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

from keras_api.manifest import Tensor
from keras_api.reasons import Reason
from keras_api.resource import Requirement
from keras_pipeline.arrays import Arrays
from keras_pipeline.errors import PrepareError
from keras_pipeline.file_kind import identify
from keras_runtimes.arrays import Array

MAX_FIELD = 1 << 20  # for long texts; Python's default is an eighth of it
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class ValidationFile:
    """A CSV file with labelled rows, and the bounds that the metrics on them must meet."""

    path: Path
    label: str = "label"
    """The column with the label."""
    require: Sequence[Requirement] = ()


@dataclass(frozen=True)
class ValidationSet:
    """Labelled rows: input arrays by name, and one label per row as float64."""

    inputs: Arrays
    labels: Array


def read_validation_set(file: ValidationFile, inputs: Sequence[Tensor]) -> ValidationSet:
    """Read the rows as inputs of a model.

    Raises:
        PrepareError: VALIDATION_DATA_INVALID, with the row (the first after the header is 1) and column.
    """
    kind = identify(file.path)
    if not kind.may_be_csv:
        raise _invalid(f"it is {kind.description}, not a CSV file: correct spec.validation.data")
    csv.field_size_limit(MAX_FIELD)
    try:
        with file.path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines, strict=True)
            header = next(rows, [])
            return _Columns(header, file.label, inputs).read(rows)
    except UnicodeDecodeError as error:
        raise _invalid(f"its byte {error.start} is not valid UTF-8: save it as UTF-8") from error
    except csv.Error as error:
        raise _invalid(f"it is not valid CSV: {error}") from error


def compute_metrics(labels: Array, outputs: Arrays, required: Sequence[Requirement]) -> dict[str, str]:
    """Compute the metrics that apply to the output of the model.

    accuracy: fraction of rows where the argmax of two or more classes equals the label, or where the value of one
    sigmoid unit, rounded, equals it.
    mean_absolute_error, mean_squared_error: of one value per row.

    Returns:
        The values as decimal strings, by the metric's name in Keras.

    Raises:
        PrepareError: VALIDATION_DATA_INVALID if a required metric does not apply to this output or these labels;
            VALIDATION_FAILED if one is out of its bounds.
    """
    if len(outputs) != 1:
        names = ", ".join(outputs)
        raise _invalid(f"the model has {len(outputs)} outputs ({names}), but metrics support one output only")
    name, values = next(iter(outputs.items()))
    figures: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for metric, function in METRICS.items():
        try:
            figures[metric] = function(labels, values.astype(np.float64).reshape(len(labels), -1))
        except _NotApplicableError as error:
            reasons[metric] = str(error)
    expected = {requirement.metric for requirement in required} or METRICS.keys()
    missing = [metric for metric in expected if metric not in figures]
    if missing and (required or not figures):
        raise _invalid(f"{missing[0]} cannot be computed for output {name!r}: {reasons[missing[0]]}")
    for requirement in required:
        _check_bounds(requirement, figures[requirement.metric], len(labels))
    return {metric: f"{figure:.6g}" for metric, figure in figures.items()}


class _NotApplicableError(ValueError):
    """A metric does not apply to these labels and outputs."""


def _accuracy(labels: Array, values: Array) -> float:
    classes = max(2, values.shape[1])
    wrong = np.flatnonzero((labels != np.floor(labels)) | (labels < 0) | (labels >= classes))
    if wrong.size:
        row = int(wrong[0])
        raise _NotApplicableError(f"row {row + 1}: label {labels[row]:g} is not a class from 0 to {classes - 1}")
    if values.shape[1] > 1:
        return float((values.argmax(axis=1) == labels).mean())
    if values.min(initial=0.0) < 0 or values.max(initial=0.0) > 1:
        raise _NotApplicableError("it has values outside 0 to 1, so it is not the output of a sigmoid")
    return float(((values[:, 0] >= 0.5) == labels).mean())


def _single(values: Array) -> Array:
    if values.shape[1] != 1:
        raise _NotApplicableError(f"it has {values.shape[1]} values per row, but the label is one number")
    return values[:, 0]


def _mean_absolute_error(labels: Array, values: Array) -> float:
    return float(np.abs(_single(values) - labels).mean())


def _mean_squared_error(labels: Array, values: Array) -> float:
    return float(((_single(values) - labels) ** 2).mean())


METRICS: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": _accuracy,
    "mean_absolute_error": _mean_absolute_error,
    "mean_squared_error": _mean_squared_error,
}


def _check_bounds(requirement: Requirement, figure: float, rows: int) -> None:
    value = Decimal(repr(figure))
    result = f"{requirement.metric} is {figure:.6g} on {rows} rows"
    remedy = ": serve a better model, or change spec.validation.require"
    if requirement.min is not None and value < Decimal(requirement.min):
        raise PrepareError(Reason.VALIDATION_FAILED, f"{result}, below the required {requirement.min}{remedy}")
    if requirement.max is not None and value > Decimal(requirement.max):
        raise PrepareError(Reason.VALIDATION_FAILED, f"{result}, above the allowed {requirement.max}{remedy}")


@dataclass(frozen=True)
class _Group:
    """The columns of one input."""

    tensor: Tensor
    columns: list[int]
    shape: tuple[int, ...]  # of one row


class _Columns:
    """The columns of the label and of each input."""

    def __init__(self, header: list[str], label: str, inputs: Sequence[Tensor]) -> None:
        self._header = header
        if not any(header):
            raise _invalid("it is empty")
        if repeated := next((name for name in header if header.count(name) > 1), None):
            raise _invalid(f"its header contains the column {repeated!r} twice")
        if label not in header:
            raise _invalid(f"it has no column {label!r} (its columns: {_some(header)}): set spec.validation.label")
        self._label = header.index(label)
        if len(inputs) == 1:
            every = [index for index in range(len(header)) if index != self._label]
            self._groups = [self._group(inputs[0], every)]
        else:
            self._groups = [self._group(tensor, self._named(tensor.name)) for tensor in inputs]
            used = {self._label, *(column for group in self._groups for column in group.columns)}
            if unused := [name for index, name in enumerate(header) if index not in used]:
                raise _invalid(f"the model has no inputs for the columns {_some(unused)}")

    def read(self, rows: Iterator[list[str]]) -> ValidationSet:
        """Convert every row."""
        values: list[list[Array]] = [[] for _ in self._groups]
        labels: list[float] = []
        for cells in rows:
            if not cells:
                continue
            row = len(labels) + 1
            if len(cells) != len(self._header):
                raise _invalid(f"row {row} has {len(cells)} values, but the header has {len(self._header)}")
            labels.append(float(self._numbers(row, cells, [self._label], "float64")[0]))
            for group, converted in zip(self._groups, values, strict=True):
                converted.append(self._values(row, cells, group))
        if not labels:
            raise _invalid("it has a header but no rows")
        inputs = {g.tensor.name: np.stack(converted) for g, converted in zip(self._groups, values, strict=True)}
        return ValidationSet(inputs, np.array(labels))

    def _named(self, name: str) -> list[int]:
        if name in self._header:
            return [self._header.index(name)]
        places = {column: index for index, column in enumerate(self._header)}
        columns: list[int] = []
        while (column := f"{name}.{len(columns)}") in places:
            columns.append(places[column])
        if not columns:
            raise _invalid(f"it has neither a column {name!r} nor {name + '.0'!r} for the input {name!r}")
        return columns

    def _group(self, tensor: Tensor, columns: list[int]) -> _Group:
        sizes = tensor.shape[1:]
        fixed = math.prod(size for size in sizes if size >= 0)
        free = sizes.count(-1)
        if free > 1 or (fixed and len(columns) % fixed) or (not free and len(columns) != fixed):
            raise _invalid(
                f"input {tensor.name!r} takes rows of shape {sizes} ({fixed}{' x n' if free else ''} values), "
                f"but the data has {len(columns)} columns for it: provide one column for each value"
            )
        return _Group(tensor, columns, tuple(len(columns) // fixed if size < 0 else size for size in sizes))

    def _values(self, row: int, cells: list[str], group: _Group) -> Array:
        if group.tensor.dtype == "string":
            return np.array([cells[column] for column in group.columns], dtype=np.str_).reshape(group.shape)
        return self._numbers(row, cells, group.columns, group.tensor.dtype).reshape(group.shape)

    def _numbers(self, row: int, cells: list[str], columns: list[int], dtype: str) -> Array:
        texts = [cells[column] for column in columns]
        try:
            return _parse(texts, dtype)
        except (ValueError, OverflowError):
            # Find the invalid value only after an error, to keep the common case fast.
            for column, text in zip(columns, texts, strict=True):
                try:
                    _parse([text], dtype)
                except (ValueError, OverflowError):
                    where = f"row {row}, column {self._header[column]!r}"
                    raise _invalid(
                        f"{where}: {text[:40]!r} is not a finite {dtype} number: correct the value"
                    ) from None
            raise


def _parse(texts: list[str], dtype: str) -> Array:
    """Parse numbers of a type. Raises ValueError or OverflowError if a text is not a number or is out of range."""
    if dtype == "bool":
        try:
            return np.array([BOOLEANS[text.strip().lower()] for text in texts])
        except KeyError as error:
            raise ValueError(*error.args) from None
    numbers = np.array([float(text) for text in texts])
    if not np.isfinite(numbers).all():
        raise ValueError("not finite")
    if np.dtype(dtype).kind == "f":
        return numbers.astype(dtype)
    if all(text.strip().lstrip("+-").isdigit() for text in texts):
        return np.array([int(text) for text in texts], dtype=dtype)  # exact beyond 2**53, unlike float
    if (numbers != np.floor(numbers)).any():
        raise ValueError("not whole")
    return np.array([int(number) for number in numbers], dtype=dtype)


def _some(names: list[str]) -> str:
    text = ", ".join(repr(name) for name in names[:8])
    return text if len(names) <= 8 else f"{text}, ... ({len(names)} in all)"


def _invalid(cause: str) -> PrepareError:
    return PrepareError(Reason.VALIDATION_DATA_INVALID, f"the validation data is invalid: {cause}")
