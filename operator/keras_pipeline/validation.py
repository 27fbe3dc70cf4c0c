"""The validation set: a CSV file with a header, read as inputs and expected answers, and the metrics on it.

A model with one input takes all columns but the label's, in order, reshaped to the input's shape. A model with several
inputs takes the columns `name` (one value per row) or `name.0`, `name.1`, ... of each.
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
from keras_pipeline.arrays import Array, Arrays
from keras_pipeline.errors import PrepareError
from keras_pipeline.model_file import PLAIN_TEXT, identify

MAX_FIELD = 1 << 20  # a long text; Python's own limit is an eighth of it
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class ValidationSet:
    """Rows with known answers: named input arrays, and one label per row as float64."""

    inputs: Arrays
    labels: Array


def read(path: Path, label: str, inputs: Sequence[Tensor]) -> ValidationSet:
    """Read a CSV file as rows for a model.

    Raises:
        PrepareError: VALIDATION_DATA_INVALID, naming the row (the first after the header is 1) and column.
    """
    kind = identify(path)
    if not kind.startswith((PLAIN_TEXT, "empty", "of no", "a JSON")):  # a first column may well be called {x}
        raise _invalid(f"it is {kind}, not CSV: let spec.validation.data lead to the rows")
    csv.field_size_limit(MAX_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            columns = _Columns(header, label, inputs)
            return columns.read(rows)
    except UnicodeDecodeError as error:
        raise _invalid(f"its byte {error.start} is no UTF-8 text: save it as UTF-8") from error
    except csv.Error as error:
        raise _invalid(f"it is not CSV: {error}") from error


def metrics(labels: Array, outputs: Arrays, required: Sequence[Requirement]) -> dict[str, str]:
    """The metrics that make sense for the model's output, as decimal strings, by their Keras names.

    accuracy: the argmax of two or more classes is the label, or one sigmoid unit is on the label's side of 0.5.
    mean_absolute_error, mean_squared_error: for one number per row.

    Raises:
        PrepareError: VALIDATION_DATA_INVALID when a required metric has no meaning for this output or these labels;
            VALIDATION_FAILED when one misses its bound.
    """
    if len(outputs) != 1:
        raise _invalid(f"the model has {len(outputs)} outputs ({', '.join(outputs)}); rows can be checked for one only")
    name, values = next(iter(outputs.items()))
    figures: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for metric, function in METRICS.items():
        try:
            figures[metric] = function(labels, values.astype(np.float64).reshape(len(labels), -1))
        except _NotApplicableError as error:
            reasons[metric] = str(error)
    wanted = {requirement.metric for requirement in required} or METRICS.keys()
    missing = [metric for metric in wanted if metric not in figures]
    if missing and (required or not figures):
        raise _invalid(f"{missing[0]} cannot be computed for output {name!r}: {reasons[missing[0]]}")
    for requirement in required:
        _check_bounds(requirement, figures[requirement.metric], len(labels))
    return {metric: f"{figure:.6g}" for metric, figure in figures.items()}


class _NotApplicableError(ValueError):
    """A metric has no meaning for these labels and outputs."""


def _accuracy(labels: Array, values: Array) -> float:
    classes = max(2, values.shape[1])
    wrong = np.flatnonzero((labels != np.floor(labels)) | (labels < 0) | (labels >= classes))
    if wrong.size:
        row = int(wrong[0])
        raise _NotApplicableError(f"row {row + 1}: label {labels[row]:g} is not a class from 0 to {classes - 1}")
    if values.shape[1] > 1:
        return float((values.argmax(axis=1) == labels).mean())
    if values.min(initial=0.0) < 0 or values.max(initial=0.0) > 1:
        raise _NotApplicableError("its single value leaves the range 0 to 1, so it is not a sigmoid's")
    return float(((values[:, 0] >= 0.5) == labels).mean())


def _single(values: Array) -> Array:
    if values.shape[1] != 1:
        raise _NotApplicableError(f"it has {values.shape[1]} values per row, and the label is one number")
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
    said = f"{requirement.metric} is {figure:.6g} on {rows} rows"
    remedy = ": serve a better model, or change spec.validation.require"
    if requirement.min is not None and value < Decimal(requirement.min):
        raise PrepareError(Reason.VALIDATION_FAILED, f"{said}, below the required {requirement.min}{remedy}")
    if requirement.max is not None and value > Decimal(requirement.max):
        raise PrepareError(Reason.VALIDATION_FAILED, f"{said}, above the allowed {requirement.max}{remedy}")


@dataclass(frozen=True)
class _Group:
    """The columns of one input."""

    tensor: Tensor
    columns: list[int]
    shape: tuple[int, ...]  # of one row


class _Columns:
    """Which columns hold what."""

    def __init__(self, header: list[str], label: str, inputs: Sequence[Tensor]) -> None:
        self._header = header
        if not any(header):
            raise _invalid("it is empty")
        if repeated := next((name for name in header if header.count(name) > 1), None):
            raise _invalid(f"column {repeated!r} stands in the header twice")
        if label not in header:
            raise _invalid(f"it has no column {label!r} (its columns: {_some(header)}); set spec.validation.label")
        self._label = header.index(label)
        if len(inputs) == 1:
            every = [index for index in range(len(header)) if index != self._label]
            self._groups = [self._group(inputs[0], every)]
        else:
            self._groups = [self._group(tensor, self._named(tensor.name)) for tensor in inputs]
            used = {self._label, *(column for group in self._groups for column in group.columns)}
            if unused := [name for index, name in enumerate(header) if index not in used]:
                raise _invalid(f"no input is called like the columns {_some(unused)}")

    def read(self, rows: Iterator[list[str]]) -> ValidationSet:
        """Convert every row."""
        values: list[list[Array]] = [[] for _ in self._groups]
        labels: list[float] = []
        for cells in rows:
            if not cells:
                continue
            row = len(labels) + 1
            if len(cells) != len(self._header):
                raise _invalid(f"row {row} has {len(cells)} values, the header {len(self._header)}")
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
            raise _invalid(f"it has no column {name!r}, and no {name + '.0'!r}, for the input {name!r}")
        return columns

    def _group(self, tensor: Tensor, columns: list[int]) -> _Group:
        sizes = tensor.shape[1:]
        fixed = math.prod(size for size in sizes if size >= 0)
        free = sizes.count(-1)
        if free > 1 or (fixed and len(columns) % fixed) or (not free and len(columns) != fixed):
            raise _invalid(
                f"input {tensor.name!r} takes rows of shape {sizes} ({fixed}{' x n' if free else ''} values), "
                f"but there are {len(columns)} columns for it: give a column for each value"
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
            # Look for the culprit only now: the common case stays fast.
            for column, text in zip(columns, texts, strict=True):
                try:
                    _parse([text], dtype)
                except (ValueError, OverflowError):
                    where = f"row {row}, column {self._header[column]!r}"
                    raise _invalid(f"{where}: {text[:40]!r} is not a finite {dtype} number: correct it") from None
            raise


def _parse(texts: list[str], dtype: str) -> Array:
    """Numbers of a type from their texts; ValueError or OverflowError when one is none, or has no place in the type."""
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
        return np.array([int(text) for text in texts], dtype=dtype)  # exact beyond 2**53, where float is not
    if (numbers != np.floor(numbers)).any():
        raise ValueError("not whole")
    return np.array([int(number) for number in numbers], dtype=dtype)


def _some(names: list[str]) -> str:
    text = ", ".join(repr(name) for name in names[:8])
    return text if len(names) <= 8 else f"{text}, ... ({len(names)} in all)"


def _invalid(what: str) -> PrepareError:
    return PrepareError(Reason.VALIDATION_DATA_INVALID, f"the validation data cannot be used: {what}")
