"""Compares the answers of a runtime with those of Keras, and describes where they differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from keras_pipeline.arrays import Arrays
from keras_pipeline.errors import first_lines
from keras_runtimes.arrays import Array
from keras_runtimes.tolerance import Tolerance
from parity.model import Probe
from parity.results import Difference

SHOWN_VALUES = 8

Answer = Arrays | Exception
"""What Keras or a runtime returns for an input, or the error that it raises."""


def attempt(call: Callable[[], Any]) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return call()
    except Exception as error:  # runtimes and layers may raise any
        return error


def cause(error: Exception) -> str:
    """The cause within a message of Keras or of a runtime, without the folders of this run."""
    message = getattr(error, "message", None)  # of TensorFlow's errors
    text = message if isinstance(message, str) else str(error)
    # TensorFlow begins with the places in the code that built the graph; Keras ends with the arguments of the call.
    text = re.split(r'\n\s*File "[^\n]*\n', text)[-1]
    for end in ("[[{{", " for '{{node", "Arguments received by"):
        text = text.partition(end)[0]
    text = text.rsplit("Error encountered:", 1)[-1].rsplit("Exception encountered when calling", 1)[-1]
    text = re.sub(r"^ \w+\.call\(\)\.", "", re.sub(r"\x1b\[[0-9;]*m", "", text))
    text = re.sub(r"Load model from \S+ failed: ?", "", text)
    return first_lines(re.sub(r"(?<!\w)(?:/[\w.+-]+){2,}", "a file", text), 300)


def differences(
    run: Callable[[Arrays], Arrays],
    probes: Sequence[Probe],
    inputs: Sequence[Arrays],
    expected: Sequence[Answer],
    tolerance: Tolerance,
) -> list[Difference]:
    """Where a runtime answers otherwise than Keras: one difference for each kind of values.

    Args:
        run: runs the runtime.
        probes: what is tried.
        inputs: the same under the names of the inputs.
        expected: the answer of Keras to each.
        tolerance: how much numbers may differ.
    """
    found: dict[str, Difference] = {}
    for probe, arrays, want in zip(probes, inputs, expected, strict=True):
        difference = _difference(probe, arrays, want, attempt(partial(run, arrays)), tolerance)
        if difference is None:
            continue
        if probe.kind in found:
            found[probe.kind].count += 1
        else:
            found[probe.kind] = difference
    return list(found.values())


def _difference(probe: Probe, arrays: Arrays, want: Answer, got: Answer, tolerance: Tolerance) -> Difference | None:
    shown = [show(array) for array in arrays.values()]
    if isinstance(want, Exception) or isinstance(got, Exception):
        if isinstance(want, Exception) and isinstance(got, Exception):
            return None
        return Difference(probe.kind, probe.accepted, shown, _describe(want), _describe(got))
    for name, array in want.items():
        other = got[name]
        if form(array) != form(other):
            return Difference(probe.kind, probe.accepted, shown, f"{name}: {form(array)}", form(other))
        place = first_difference(array, other, tolerance)
        if place is None:
            continue
        shown = [
            show(each[place[0]] if len(each) == len(array) and each[0].size <= SHOWN_VALUES else each)
            for each in arrays.values()
        ]
        return Difference(
            probe.kind, probe.accepted, shown, f"{name}{list(place)} = {array[place]!s}", f"{other[place]!s}"
        )
    return None


def form(array: Array) -> str:
    """Type and shape of an array."""
    return f"{'string' if array.dtype.kind == 'U' else array.dtype}{list(array.shape)}"


def first_difference(want: Array, got: Array, tolerance: Tolerance) -> tuple[int, ...] | None:
    """The place of the largest difference between two arrays of one form; None if they agree.

    The absolute bound is relative to the largest number of the same row, where that exceeds 1: the rows of a probe may
    have other magnitudes. NaN equals NaN, and an infinity equals the same infinity.

    Args:
        want: the answer of Keras.
        got: the answer of a runtime.
        tolerance: how much numbers may differ.
    """
    if want.size == 0:
        return None
    if want.dtype.kind != "f":
        unequal = want != got
        return _place(unequal, want.shape) if unequal.any() else None
    wide, other = want.astype(np.float64), got.astype(np.float64)
    finite = np.where(np.isfinite(wide), np.abs(wide), 0.0)
    magnitude = np.maximum(1.0, finite.reshape(len(finite), -1).max(axis=1)).reshape(-1, *[1] * (wide.ndim - 1))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(wide - other)
        bound = tolerance.absolute * magnitude + tolerance.relative * np.abs(wide)
        within = (wide == other) | (np.isnan(wide) & np.isnan(other)) | (np.isfinite(wide) & (apart <= bound))
    if within.all():
        return None
    return _place(np.where(within, -1.0, np.nan_to_num(apart, nan=np.inf, posinf=np.inf)), want.shape)


def _place(badness: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(int(badness.argmax()), shape))


def _describe(answer: Answer) -> str:
    if isinstance(answer, Exception):
        return f"error: {cause(answer)}"
    return ", ".join(f"{name} = {show(array)}" for name, array in answer.items())


def show(array: Array) -> str:
    """An array in a few words."""
    if array.size > SHOWN_VALUES:
        return f"{form(array)} {array.ravel()[:SHOWN_VALUES].tolist()}..."
    return f"{form(array)} {array.tolist()}"
