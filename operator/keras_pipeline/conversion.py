"""Chooses the runtime of a model: the first one, in the order of speed, that runs it and gives Keras's answers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from keras_api.limits import memory_limit
from keras_api.manifest import Parity, RejectedRuntime
from keras_api.memory import MIB, conversion_excess
from keras_pipeline import converters, saved_model
from keras_pipeline.arrays import Arrays
from keras_pipeline.converters.base import Export
from keras_pipeline.errors import ConversionError, ParityError, PrepareError
from keras_pipeline.inspection import ModelProperties
from keras_pipeline.loading import LoadedModel
from keras_pipeline.parity import check_parity
from keras_pipeline.reference_cases import References
from keras_pipeline.runtimes import Runtime, open_runtime
from keras_runtimes.base import ConvertedModel
from keras_runtimes.registry import RUNTIMES
from keras_runtimes.tolerance import Tolerance

AUTO = "auto"

TIMING_RUNS = 5


@dataclass(frozen=True)
class Converted:
    """A runtime that gives Keras's answers.

    Attributes:
        name: of the runtime, as in the manifest.
        runtime: the model, open in it.
        parity: how well it agrees with Keras.
        path: its file or folder.
        input_bindings: its names of inputs, where they are not the model's.
        rejected_runtimes: the other runtimes that were tried.
        warnings: inputs for which it answers otherwise than Keras, which overflows there.
    """

    name: str
    runtime: Runtime
    parity: Parity
    path: Path
    input_bindings: dict[str, str] = field(default_factory=dict)
    rejected_runtimes: list[RejectedRuntime] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def entry(self) -> str:
        """Name of the file or folder in the bundle."""
        return RUNTIMES[self.name].entry


class Converter:
    """Converts one model, in a scratch folder."""

    def __init__(
        self,
        model: LoadedModel,
        properties: ModelProperties,
        references: References,
        tolerance: Tolerance,
        scratch: Path,
        progress: Callable[[str], None],
    ) -> None:
        self._model, self._properties, self._references, self._scratch = model, properties, references, scratch
        self._tolerance, self._progress = tolerance, progress

    def convert(self, requested: str, bundle: Path) -> Converted:
        """Try the runtimes that the spec allows, and move the files of the chosen one into the bundle.

        Raises:
            PrepareError: CONVERSION_FAILED or PARITY_FAILED with every candidate's reason and figures.
        """
        self._progress("exporting a SavedModel")
        folder = self._scratch / "export"
        try:
            export = Export(folder, saved_model.export(self._model, folder))
        except Exception as error:  # TensorFlow raises errors of any type
            raise self._model.export_error(error) from error
        good: list[Converted] = []
        failed: dict[str, ConversionError | ParityError] = {}
        for name in RUNTIMES if requested == AUTO else (requested,):
            try:
                if requested == AUTO:
                    self._check_memory(name)
                good.append(self._try(name, export))
            except (ConversionError, ParityError) as error:
                self._progress(f"{name} rejected: {error}")
                failed[name] = error
            # The order of the runtimes is the order of speed, except for quantised models, which are measured.
            if good and not self._properties.quantized:
                break
        if not good:
            reason = list(failed.values())[-1].reason
            reasons = "; ".join(f"{name}: {error}" for name, error in failed.items())
            fallback = (
                ": set spec.serving.runtime to auto, to fall back to TensorFlow"
                if requested not in (AUTO, "tensorflow")
                else ""
            )
            raise PrepareError(reason, f"{reasons}{self._model.shape_hint}{fallback}")
        taken, slower = self._fastest(good)
        taken.path.rename(bundle / taken.entry)
        rejected = [RejectedRuntime(runtime=name, reason=str(error)) for name, error in failed.items()]
        return replace(taken, rejected_runtimes=[*rejected, *slower], warnings=self._overflows(taken))

    def _check_memory(self, name: str) -> None:
        limit = memory_limit()
        needed = conversion_excess(name, self._properties.weight_bytes, limit)
        if needed and limit:
            raise ConversionError(
                f"converting needs about {needed // MIB} MiB of memory, the limit is {limit // MIB} MiB"
            )

    def _try(self, name: str, export: Export) -> Converted:
        """Convert to one runtime, and compare it with Keras."""
        self._progress(f"converting to {name}")
        info = RUNTIMES[name]
        path, bindings = converters.convert(name, export, self._scratch / info.entry)
        self._progress(f"comparing {name} with Keras")
        runtime = open_runtime(info, ConvertedModel(path, self._model.inputs, self._references.outputs, bindings))
        return Converted(name, runtime, check_parity(runtime, self._references.cases, self._tolerance), path, bindings)

    def _overflows(self, converted: Converted) -> list[str]:
        """Where a model in half precision overflows in Keras, and not in a runtime that computes in float32."""
        if not self._properties.half_precision:
            return []
        warnings = []
        for case in self._references.overflow_cases:
            try:
                check_parity(converted.runtime, [case], self._tolerance)
            except ParityError as error:
                warnings.append(f"{converted.name} does not overflow in half precision where Keras does: {error}")
        if converted.name == "onnxruntime" and not warnings:
            warnings.append("onnxruntime computes half precision in float32: values near and beyond 65504 differ")
        return warnings

    def _fastest(self, good: list[Converted]) -> tuple[Converted, list[RejectedRuntime]]:
        """The fastest, and the others with their times; one alone is not measured."""
        if len(good) == 1:
            return good[0], []
        self._progress("measuring")
        inputs = self._references.cases[0].inputs
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
    """Median time of one run, after a first one that warms up."""
    runtime.run(inputs)
    times = []
    for _ in range(TIMING_RUNS):
        began = time.perf_counter()
        runtime.run(inputs)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000
