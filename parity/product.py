"""The product's own path of a model, from its file to an open runtime: the only module here that calls it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import keras
import onnx
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from keras_api.manifest import Tensor
from keras_pipeline import converters, saved_model
from keras_pipeline.arrays import Arrays, to_numpy
from keras_pipeline.converters import onnxruntime as onnx_converter
from keras_pipeline.converters.base import Export
from keras_pipeline.inspection import inspect
from keras_pipeline.loading import LoadedModel, load_model
from keras_pipeline.model_file import read_model_file
from keras_pipeline.parity import check_parity
from keras_pipeline.reference_cases import references
from keras_pipeline.runtimes import Runtime, open_runtime
from keras_runtimes.base import ConvertedModel
from keras_runtimes.registry import RUNTIMES
from keras_runtimes.tolerance import Tolerance, tolerance_of

REWRITES = getattr(onnx_converter, "REWRITES", {})
"""TensorFlow operations that the converter to ONNX rewrites, and why."""


class Checked(NamedTuple):
    """What the comparison of the prepare step finds.

    Attributes:
        inputs: with the sizes that the server accepts.
        reports_overflow: whether the status reports that the runtime computes half precision in float32.
    """

    inputs: list[Tensor]
    reports_overflow: bool


@dataclass(frozen=True)
class Prepared:
    """A loaded model, in a folder for its conversions."""

    model: LoadedModel
    folder: Path
    half_precision: bool
    _traced: list[tuple[int, ...]] = field(default_factory=list)

    @classmethod
    def load(cls, file: Path, custom_objects: dict[str, Any]) -> Prepared:
        """Load a model file as the prepare step does.

        Raises:
            PrepareError: the prepare step rejects the model.
        """
        content = read_model_file(file)
        properties = inspect(content)
        model = load_model(file, content, properties, custom_objects)
        return cls(model, file.parent, properties.half_precision)

    @cached_property
    def export(self) -> Export:
        """The model as a SavedModel."""
        folder = self.folder / "export"
        return Export(folder, saved_model.export(self.model, folder))

    def predict(self, arrays: Arrays, *, relaxed: bool = False) -> Arrays:
        """The answers of `keras.Model.predict` to one batch.

        Args:
            arrays: the inputs by name; strings are numpy unicode arrays.
            relaxed: use the graph of the last batch, see `Probe`.
        """
        rows = len(next(iter(arrays.values())))
        shapes = [array.shape[1:] for array in arrays.values()]
        tensors = [tf.constant(arrays[tensor.name], tensor.dtype) for tensor in self.model.inputs]
        packed = tensors[0] if len(tensors) == 1 else tuple(tensors)
        batches = tf.data.Dataset.from_tensor_slices((packed,)).batch(rows)
        if not relaxed and shapes != self._traced:
            self.model.keras.make_predict_function(force=True)
        self._traced[:] = shapes
        answers = keras.tree.flatten(self.model.keras.predict(batches, verbose=0))
        # As in `LoadedModel`: numpy has no bfloat16, and float32 represents its values exactly.
        outputs = [
            to_numpy(answer.astype("float32") if str(answer.dtype) == "bfloat16" else answer) for answer in answers
        ]
        return dict(zip(self.model.output_names, outputs, strict=True))

    def open(self, runtime: str, answers: Arrays) -> Runtime:
        """Convert the model and open it in a runtime.

        Args:
            runtime: name of the runtime.
            answers: of Keras, for the types and ranks of the outputs.

        Raises:
            ConversionError: the runtime cannot run the model.
        """
        info = RUNTIMES[runtime]
        path, bindings = converters.convert(runtime, self.export, self.folder / info.entry)
        outputs = [
            Tensor(name=name, dtype=_dtype(answer), shape=[-1] * answer.ndim)  # type: ignore[arg-type]
            for name, answer in answers.items()
        ]
        return open_runtime(info, ConvertedModel(path, self.model.inputs, outputs, bindings))

    @property
    def tolerance(self) -> Tolerance:
        """Of the parity check."""
        return tolerance_of(half_precision=self.half_precision)

    def check(self, runtime: Runtime) -> Checked:
        """Compare a runtime with Keras on the inputs of the prepare step.

        Raises:
            ParityError: it differs.
            ConversionError: it fails.
            PrepareError: the prepare step rejects the model.
        """
        found = references(self.model, None, self.tolerance)
        check_parity(runtime, found.cases, self.tolerance)
        return Checked(found.inputs, reports_overflow=self.half_precision)

    @cached_property
    def tensorflow_operations(self) -> list[str]:
        """Types of the operations that the signature of the SavedModel runs."""
        stored = SavedModel()
        stored.ParseFromString((self.export.folder / "saved_model.pb").read_bytes())
        graph = stored.meta_graphs[0].graph_def
        functions = {each.signature.name: each for each in graph.library.function}
        signature = stored.meta_graphs[0].signature_def[saved_model.SIGNATURE]
        called = {tensor.name.partition(":")[0] for tensor in signature.outputs.values()}
        pending = [node.attr["f"].func.name for node in graph.node if node.name in called]
        reached: set[str] = set()
        types: set[str] = set()
        while pending:
            name = pending.pop()
            if name in reached or name not in functions:
                continue
            reached.add(name)
            for node in functions[name].node_def:
                types.add(node.op)
                for value in node.attr.values():
                    pending += [each.name for each in (value.func, *value.list.func) if each.name]
        return sorted(types)

    @property
    def onnx_operations(self) -> list[str]:
        """Types of the operations in the ONNX file; empty if there is none."""
        file = self.folder / RUNTIMES["onnxruntime"].entry
        if not file.exists():
            return []
        types: set[str] = set()
        pending = [onnx.load(file, load_external_data=False).graph]
        while pending:
            for node in pending.pop().node:
                types.add(node.op_type)
                pending += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        return sorted(types)


def accepts(tensors: Iterable[Tensor], arrays: Arrays) -> bool:
    """Whether the sizes of arrays are within those that the server accepts for its inputs."""
    for tensor in tensors:
        sizes = arrays[tensor.name].shape
        if any(size < smallest for size, smallest in zip(sizes, tensor.min_shape, strict=False)):
            return False
        if any(0 <= largest < size for size, largest in zip(sizes, tensor.max_shape, strict=False)):
            return False
    return True


def _dtype(answer: Any) -> str:
    return "string" if answer.dtype.kind == "U" else str(answer.dtype)
