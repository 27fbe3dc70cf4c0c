"""Tries one case: makes the model, converts it as the product does, and compares both runtimes with Keras."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import product
import registry
from keras_pipeline.arrays import Arrays
from keras_pipeline.errors import first_lines
from keras_runtimes.arrays import Array
from keras_runtimes.tolerance import Tolerance, tolerance_of
from model import Case, Probe
from results import Difference, Result, Verdict

# Operations that carry no arithmetic of the layer: not listed in the results.
PLUMBING = {
    *("Const", "Placeholder", "Identity", "IdentityN", "NoOp", "ReadVariableOp", "VarHandleOp"),
    *("PartitionedCall", "StatefulPartitionedCall", "Constant"),
}
MAX_DIFFERENCES = 4
SHOWN_VALUES = 8
MAX_SWEPT = 6


class Refused(Exception):
    """Keras, or the prepare step, refuses the model; the text gives the cause."""


@keras.saving.register_keras_serializable("parity")
class Apply(keras.layers.Layer):
    """A custom layer that calls the function of a case, for operations that Keras cannot save in a functional model."""

    def __init__(self, case: str, **options: Any) -> None:
        super().__init__(**options)
        self.case = case

    def call(self, *tensors: Any) -> Any:
        """The outputs of the function."""
        return registry.case(self.case).function(*tensors)

    def get_config(self) -> dict[str, Any]:
        """See keras.Layer."""
        return {**super().get_config(), "case": self.case}


def measure(case: Case) -> Result:
    """Try a case, whatever it does."""
    began = time.monotonic()
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    result = Result(subject=case.subject, variant=case.variant)
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        try:
            _measure(case, Path(folder), result)
        except Refused as error:
            result.verdict, result.cause = Verdict.REJECTED, str(error)
        except Exception as error:  # a fault of the search itself must not end it
            result.verdict, result.cause = Verdict.FAILED, f"{type(error).__name__}: {first_lines(error)}"
    result.seconds = round(time.monotonic() - began, 2)
    return result


def _measure(case: Case, folder: Path, result: Result) -> None:
    prepared = _prepare(case, folder, result)
    probes = list(case.probes())
    names = [tensor.name for tensor in prepared.model.inputs]
    inputs: list[Arrays] = [dict(zip(names, probe.inputs, strict=True)) for probe in probes]
    expected = [
        _attempt(lambda arrays=arrays, probe=probe: prepared.predict(arrays, relaxed=probe.relaxed))
        for probe, arrays in zip(probes, inputs, strict=True)
    ]
    answers = next((each for each in expected if isinstance(each, dict)), None)
    if answers is None:
        raise Refused(f"Keras runs none of the inputs: {first_lines(expected[0], 200)}")
    if any(array.ndim == 0 for array in answers.values()):
        raise Refused("an output has no batch axis")
    half = any(array.dtype == np.float16 for array in (*answers.values(), *inputs[0].values()))
    tolerance = tolerance_of(half_precision=half)

    tensorflow = _attempt(lambda: prepared.open("tensorflow", answers))
    if isinstance(tensorflow, Exception):
        raise Refused(f"TensorFlow cannot serve it: {first_lines(tensorflow, 200)}")
    result.tensorflow_operations = [each for each in prepared.tensorflow_operations if each not in PLUMBING]
    result.rewrites = [each for each in result.tensorflow_operations if each in product.REWRITES]
    result.tensorflow = _differences(tensorflow, probes, inputs, expected, tolerance)

    onnx = _attempt(lambda: prepared.open("onnxruntime", answers))
    result.onnx_operations = [each for each in prepared.onnx_operations if each not in PLUMBING]
    if isinstance(onnx, Exception):
        result.verdict, result.cause = Verdict.TENSORFLOW, first_lines(onnx, 300)
        return
    found = _differences(onnx, probes, inputs, expected, tolerance)
    result.wrong = [each for each in found if each.finite]
    result.non_finite = [each for each in found if not each.finite]
    if not result.wrong:
        result.verdict = Verdict.REWRITTEN if result.rewrites else Verdict.EQUAL
        return
    caught = _attempt(lambda: prepared.check(onnx, tolerance))
    if isinstance(caught, Exception):
        result.verdict, result.cause = Verdict.DETECTED, f"the prepare step finds it: {first_lines(caught, 200)}"
    else:
        result.verdict = Verdict.WRONG


def _prepare(case: Case, folder: Path, result: Result) -> product.Prepared:
    """Make, save, load and export the model: as a functional model, or with the operation in a custom layer."""
    ways = [case.function]
    if case.subject.startswith("ops."):
        ways.append(lambda *tensors: Apply(case.name)(*tensors))
    causes = []
    for way, function in enumerate(ways):
        try:
            (folder / str(way)).mkdir()
            prepared = _save_and_load(case, function, folder / str(way) / "model.keras")
            prepared.export  # noqa: B018
        except Exception as error:  # Keras may raise any
            causes.append(first_lines(error, 300))
        else:
            result.in_custom_layer = way == 1
            return prepared
    raise Refused(causes[-1])


def _save_and_load(case: Case, function: Callable[..., Any], file: Path) -> product.Prepared:
    tensors = [
        keras.Input(spec.shape, dtype=spec.dtype, name=f"x{index}") for index, spec in enumerate(case.inputs)
    ]
    outputs = keras.tree.flatten(function(*tensors))
    # An Identity per output gives each a name, and keeps an output that is an input apart from it.
    outputs = [keras.layers.Identity(name=f"y{index}", dtype=_policy(each))(each) for index, each in enumerate(outputs)]
    model = keras.Model(tensors, outputs)
    _set_weights(model)
    model.save(file)
    return product.Prepared.load(file, {"Apply": Apply})


def _policy(tensor: Any) -> str:
    """The policy under which a layer does not cast a tensor."""
    return str(tensor.dtype) if tensor.dtype.startswith(("float", "bfloat")) else "float32"


def _set_weights(model: Any) -> None:
    """Give all weights values other than those of their initialisers, so that none is without effect."""
    random = np.random.default_rng(5)
    for weight in model.weights:
        if not weight.dtype.startswith(("float", "bfloat")) or "normalization/count" in weight.path:
            continue
        values = random.normal(scale=0.5, size=weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)


def _attempt(call: Callable[[], Any]) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return call()
    except Exception as error:  # runtimes and layers may raise any
        return error


def _differences(
    runtime: Any, probes: list[Probe], inputs: list[Arrays], expected: list[Any], tolerance: Tolerance
) -> list[Difference]:
    """Where a runtime answers otherwise than Keras: one difference per kind of probe."""
    found: dict[str, Difference] = {}
    for probe, arrays, want in zip(probes, inputs, expected, strict=True):
        got = _attempt(lambda arrays=arrays: runtime.run(arrays))
        difference = _difference(probe, arrays, want, got, tolerance)
        if difference is None:
            continue
        if probe.kind in found:
            found[probe.kind].count += 1
        elif len(found) < MAX_DIFFERENCES:
            found[probe.kind] = difference
    return list(found.values())


def _difference(probe: Probe, arrays: Arrays, want: Any, got: Any, tolerance: Tolerance) -> Difference | None:
    failed = isinstance(want, Exception), isinstance(got, Exception)
    shown = [show(array) for array in arrays.values()]
    if all(failed):
        return None
    if any(failed):
        texts = [f"error: {first_lines(each, 160)}" if isinstance(each, Exception) else _show(each) for each in (want, got)]
        return Difference(probe.kind, probe.finite, shown, *texts)
    for name, array in want.items():
        where = differing(array, got[name], tolerance)
        if where is None:
            continue
        if isinstance(where, str):
            return Difference(probe.kind, probe.finite, shown, f"{where.split('|')[0]}", f"{where.split('|')[1]}")
        rows = where[0] if len(where) else 0
        shown = [
            show(each[rows] if len(each) == len(array) and each[0].size <= SHOWN_VALUES else each)
            for each in arrays.values()
        ]
        places = tuple(int(each) for each in where)
        return Difference(
            probe.kind,
            probe.finite,
            shown,
            f"{name}{list(places)} = {array[places]!s}",
            f"{got[name][places]!s}",
        )
    return None


def differing(want: Array, got: Array, tolerance: Tolerance) -> Any:
    """The place of the largest difference between two arrays, or the forms that differ; None if they agree.

    The absolute bound is relative to the largest number of a row where that exceeds 1. NaN equals NaN, and an infinity
    equals the same infinity.
    """
    if want.shape != got.shape:
        return f"shape {list(want.shape)}|shape {list(got.shape)}"
    if want.dtype.kind != got.dtype.kind or (want.dtype.kind != "U" and want.dtype != got.dtype):
        return f"type {want.dtype}|type {got.dtype}"
    if want.size == 0:
        return None
    if want.dtype.kind != "f":
        unequal = want != got
        return np.unravel_index(int(unequal.argmax()), want.shape) if unequal.any() else None
    wide, other = want.astype(np.float64), got.astype(np.float64)
    finite = np.where(np.isfinite(wide), np.abs(wide), 0.0)
    scale = np.maximum(1.0, finite.reshape(len(finite), -1).max(axis=1)).reshape(-1, *[1] * (wide.ndim - 1))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(wide - other)
        same = (wide == other) | (np.isnan(wide) & np.isnan(other))
        within = same | (apart <= tolerance.absolute * scale + tolerance.relative * np.abs(wide)) & np.isfinite(wide)
    if within.all():
        return None
    badness = np.where(within, -1.0, np.nan_to_num(apart, nan=np.inf, posinf=np.inf))
    return np.unravel_index(int(badness.argmax()), want.shape)


def _show(arrays: Arrays) -> str:
    return ", ".join(f"{name} = {show(array)}" for name, array in arrays.items())


def show(array: Array) -> str:
    """An array in a few words."""
    array = np.asarray(array)
    if array.size > SHOWN_VALUES:
        return f"{array.dtype}{list(array.shape)} {array.ravel()[:SHOWN_VALUES].tolist()}..."
    return f"{array.dtype}{list(array.shape)} {array.tolist()}"
