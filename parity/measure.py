"""Tries one case: makes the model, converts it as the product does, and compares both runtimes with Keras."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_api.manifest import Tensor
from keras_pipeline.arrays import Arrays
from keras_pipeline.errors import PrepareError, first_lines
from parity import product, registry
from parity.comparison import attempt, cause, differences
from parity.model import Case
from parity.results import Result, Verdict

# Operations that carry no arithmetic of the layer: not listed in the results.
PLUMBING = {
    *("Const", "Placeholder", "Identity", "IdentityN", "NoOp", "ReadVariableOp", "VarHandleOp"),
    *("PartitionedCall", "StatefulPartitionedCall", "Constant"),
}
# Kinds of values that may overflow in half precision.
OVERFLOWING = {"large", "huge"}
# Differences that are stored of each sort.
MAX_DIFFERENCES = 4


class RefusedError(Exception):
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
        except RefusedError as error:
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
        attempt(partial(prepared.predict, arrays, relaxed=probe.relaxed))
        for probe, arrays in zip(probes, inputs, strict=True)
    ]
    answers = next((each for each in expected if isinstance(each, dict)), None)
    if answers is None:
        raise RefusedError(f"Keras runs none of the inputs: {cause(expected[0])}")
    if any(array.ndim == 0 for array in answers.values()):
        raise RefusedError("an output has no batch axis")
    tolerance = prepared.tolerance

    tensorflow = attempt(partial(prepared.open, "tensorflow", answers))
    if isinstance(tensorflow, Exception):
        raise RefusedError(f"TensorFlow cannot serve it: {cause(tensorflow)}")
    result.tensorflow_operations = [each for each in prepared.tensorflow_operations if each not in PLUMBING]
    result.rewrites = [each for each in result.tensorflow_operations if each in product.REWRITES]
    result.tensorflow = differences(tensorflow.run, probes, inputs, expected, tolerance)[:MAX_DIFFERENCES]

    onnx = attempt(partial(prepared.open, "onnxruntime", answers))
    result.onnx_operations = [each for each in prepared.onnx_operations if each not in PLUMBING]
    if isinstance(onnx, Exception):
        result.verdict, result.cause = Verdict.TENSORFLOW, cause(onnx)
        return
    found = differences(onnx.run, probes, inputs, expected, tolerance)
    result.wrong = [each for each in found if each.accepted][:MAX_DIFFERENCES]
    result.unaccepted = [each for each in found if not each.accepted][:MAX_DIFFERENCES]
    equal = Verdict.REWRITTEN if result.rewrites else Verdict.EQUAL
    if not result.wrong:
        result.verdict = equal
        return
    checked = attempt(partial(prepared.check, onnx))
    if isinstance(checked, PrepareError):
        raise RefusedError(f"the prepare step rejects it: {cause(checked)}")
    if isinstance(checked, Exception):
        result.verdict, result.cause = Verdict.DETECTED, f"the prepare step finds it: {cause(checked)}"
        return
    inside = [product.accepts(checked.inputs, arrays) for arrays in inputs]
    found = differences(
        onnx.run,
        list(compress(probes, inside)),
        list(compress(inputs, inside)),
        list(compress(expected, inside)),
        tolerance,
    )
    wrong = [each for each in found if each.accepted]
    if not wrong:
        result.verdict = equal
        result.cause = f"the server accepts only the sizes {', '.join(map(_limits, checked.inputs))}"
        result.unaccepted += result.wrong
    elif checked.reports_overflow and {each.kind for each in wrong} <= OVERFLOWING:
        result.verdict = Verdict.REPORTED
    else:
        result.verdict = Verdict.WRONG
    result.wrong = wrong[:MAX_DIFFERENCES]


def _limits(tensor: Tensor) -> str:
    largest = ["any" if size < 0 else size for size in tensor.max_shape]
    return f"{tensor.min_shape} to [{', '.join(map(str, largest))}]"


def _prepare(case: Case, folder: Path, result: Result) -> product.Prepared:
    """Make, save, load and export the model: as a functional model, or with the operation in a custom layer."""
    ways = [case.function]
    if case.subject.startswith("ops."):
        ways.append(lambda *tensors: Apply(case.name)(*tensors))
    causes = []
    for way, function in enumerate(ways):
        file = folder / str(way) / "model.keras"
        file.parent.mkdir()
        if error := attempt(partial(_save, case, function, file)):  # Keras may raise any
            causes.append(cause(error))
            continue
        try:
            prepared = product.Prepared.load(file, {"Apply": Apply})
        except PrepareError as error:
            causes.append(cause(error))
            continue
        exported = attempt(partial(getattr, prepared, "export"))
        if isinstance(exported, Exception):
            causes.append(cause(exported))
            continue
        result.in_custom_layer = way == 1
        return prepared
    raise RefusedError(causes[-1])


def _save(case: Case, function: Callable[..., Any], file: Path) -> None:
    """Make the model, and save it."""
    tensors = [keras.Input(spec.shape, dtype=spec.dtype, name=f"x{index}") for index, spec in enumerate(case.inputs)]
    outputs = keras.tree.flatten(function(*tensors))
    # An Identity per output gives each a name, and keeps an output that is an input apart from it.
    outputs = [keras.layers.Identity(name=f"y{index}", dtype=_policy(each))(each) for index, each in enumerate(outputs)]
    model = keras.Model(tensors, outputs)
    _set_weights(model)
    model.save(file)


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
