"""Chooses what will run the model: the first runtime, fastest first, that can run it and gives Keras's answers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from keras_api.limits import memory_limit
from keras_api.manifest import Parity, RejectedRuntime
from keras_api.reasons import Reason
from keras_pipeline import onnx_graph, saved_model
from keras_pipeline.arrays import Arrays
from keras_pipeline.errors import ConversionError, ParityError, PrepareError
from keras_pipeline.inspection import ModelProperties
from keras_pipeline.loading import LoadedModel, first_lines
from keras_pipeline.parity import FULL_PRECISION, HALF_PRECISION, ReferenceCase, check_parity
from keras_pipeline.runtimes import OnnxRuntime, Runtime, TensorFlow

CANDIDATES = {"auto": ("onnxruntime", "tensorflow"), "onnxruntime": ("onnxruntime",), "tensorflow": ("tensorflow",)}
ONNX_FILE, SAVED_MODEL = "model.onnx", "saved_model"

# Peak memory of tf2onnx as measured: 1 GiB and 25 times the weights. Small models always get their try.
TF2ONNX_BASE_BYTES, TF2ONNX_FACTOR, SMALL_WEIGHTS = 1 << 30, 25, 20 << 20

TIMING_RUNS = 5


@dataclass(frozen=True)
class Converted:
    """A runtime that gives Keras's answers.

    Attributes:
        name: of the runtime, as in the manifest.
        runtime: the model, open in it.
        parity: how well it agrees with Keras.
        entry: its file or folder in the bundle.
        input_bindings: its names of inputs, where they are not the model's.
        rejected_runtimes: what was tried besides.
    """

    name: str
    runtime: Runtime
    parity: Parity
    entry: str
    input_bindings: dict[str, str] = field(default_factory=dict)
    rejected_runtimes: list[RejectedRuntime] = field(default_factory=list)


class Converter:
    """Converts one model, in a scratch folder."""

    def __init__(
        self,
        model: LoadedModel,
        properties: ModelProperties,
        cases: Sequence[ReferenceCase],
        scratch: Path,
        progress: Callable[[str], None],
    ) -> None:
        self._model, self._properties, self._cases, self._scratch = model, properties, cases, scratch
        self._progress = progress
        self._tolerance = HALF_PRECISION if properties.half_precision else FULL_PRECISION

    def convert(self, wanted: str, bundle: Path) -> Converted:
        """Try the runtimes that the spec allows, and move the files of the one taken into the bundle.

        Raises:
            PrepareError: CONVERSION_FAILED or PARITY_FAILED with every candidate's reason and figures.
        """
        self._progress("exporting a SavedModel")
        try:
            bindings = saved_model.export(self._model, self._scratch / SAVED_MODEL)
        except Exception as error:  # TensorFlow raises whatever a layer makes it stumble over
            message = f"Keras cannot export the model for inference: {first_lines(error)}{self._hint()}"
            raise PrepareError(Reason.CONVERSION_FAILED, message) from error
        good: list[Converted] = []
        failed: dict[str, ConversionError | ParityError] = {}
        for name in CANDIDATES[wanted]:
            try:
                if name == "onnxruntime":
                    good.append(self._onnxruntime(bindings, wanted))
                else:
                    good.append(self._tensorflow(bindings))
            except (ConversionError, ParityError) as error:
                self._progress(f"{name} not taken: {error}")
                failed[name] = error
            # The order is the order of speed, but for quantised models, which are measured.
            if good and not self._properties.quantized:
                break
        if not good:
            reason = list(failed.values())[-1].reason
            said = "; ".join(f"{name}: {error}" for name, error in failed.items())
            fallback = (
                "" if "tensorflow" in failed else ": set spec.serving.runtime to auto, to fall back to TensorFlow"
            )
            raise PrepareError(reason, f"{said}{self._hint()}{fallback}")
        taken, slower = self._fastest(good)
        (self._scratch / taken.entry).rename(bundle / taken.entry)
        attempts = [RejectedRuntime(runtime=name, reason=str(error)) for name, error in failed.items()]
        return replace(taken, rejected_runtimes=[*attempts, *slower])

    def _hint(self) -> str:
        """What would help where some layers (TimeDistributed, UpSampling2D) need sizes that the model leaves free."""
        free = self._model.free_inputs
        return f". A fixed shape for {', '.join(map(repr, free))} may help" if free else ""

    def _onnxruntime(self, bindings: dict[str, str], wanted: str) -> Converted:
        needed, limit = TF2ONNX_BASE_BYTES + TF2ONNX_FACTOR * self._properties.weight_bytes, memory_limit()
        if wanted == "auto" and limit and needed > limit and self._properties.weight_bytes > SMALL_WEIGHTS:
            raise ConversionError(
                f"converting needs about {needed >> 20} MiB of memory, the limit is {limit >> 20} MiB"
            )
        self._progress("converting to ONNX")
        file = self._scratch / ONNX_FILE
        onnx_graph.convert(self._scratch / SAVED_MODEL, bindings, file)
        self._progress("comparing ONNX Runtime with Keras")
        runtime = OnnxRuntime(file, self._model.inputs, self._model.outputs)
        return Converted("onnxruntime", runtime, check_parity(runtime, self._cases, self._tolerance), ONNX_FILE)

    def _tensorflow(self, bindings: dict[str, str]) -> Converted:
        self._progress("comparing TensorFlow with Keras")
        runtime = TensorFlow(self._scratch / SAVED_MODEL, self._model.inputs, bindings)
        return Converted(
            "tensorflow", runtime, check_parity(runtime, self._cases, self._tolerance), SAVED_MODEL, bindings
        )

    def _fastest(self, good: list[Converted]) -> tuple[Converted, list[RejectedRuntime]]:
        """The fastest, and the others with their times; without measuring when there is no choice."""
        if len(good) == 1:
            return good[0], []
        self._progress("measuring")
        inputs = self._cases[0].inputs
        times = {converted.name: _milliseconds(converted.runtime, inputs) for converted in good}
        first, *others = sorted(good, key=lambda converted: times[converted.name])
        return first, [
            RejectedRuntime(
                runtime=other.name,
                reason=f"slower here: {times[other.name]:.3g} ms a row; {first.name} {times[first.name]:.3g} ms",
            )
            for other in others
        ]


def _milliseconds(runtime: Runtime, inputs: Arrays) -> float:
    """Median time of one run, after one to warm up."""
    runtime.run(inputs)
    times = []
    for _ in range(TIMING_RUNS):
        began = time.perf_counter()
        runtime.run(inputs)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000
