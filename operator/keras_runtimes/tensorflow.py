"""TensorFlow on the CPU: the SavedModel's `serve` signature as a concrete function. No Keras, no `model.predict`."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from keras_runtimes.arrays import Array, Arrays
from keras_runtimes.base import (
    ConvertedModel,
    FileSignature,
    InvalidInputError,
    ModelLoadError,
    ModelRunError,
    TensorType,
    check_names,
)

SIGNATURES = ("serve", "serving_default")


def load(model: ConvertedModel, *, threads: int) -> TensorFlowRuntime:
    """See `keras_runtimes.registry.RuntimeInfo.load`.

    TensorFlow has one pool of threads in a process; `keras_runtimes.environment` sets its size.
    """
    return TensorFlowRuntime(model)


class TensorFlowRuntime:
    """See `keras_runtimes.base.Runtime`."""

    def __init__(self, model: ConvertedModel) -> None:
        try:
            # The variables live as long as this object does; the function alone does not keep them.
            self._model = tf.saved_model.load(str(model.path))
        except Exception as error:
            raise ModelLoadError(f"TensorFlow cannot open the model: {error}") from error
        signatures = self._model.signatures
        name = next((name for name in SIGNATURES if name in signatures), None)
        if name is None:
            raise ModelLoadError(f"{model.path.name} has no signature {SIGNATURES[0]!r}; it has {sorted(signatures)}")
        self._function = signatures[name]
        self._inputs, self._outputs = model.bound_inputs, model.bound_outputs
        declared = self.signature()
        check_names("input", self._inputs.values(), declared.inputs, model.path)
        check_names("output", self._outputs.values(), declared.outputs, model.path)

    def signature(self) -> FileSignature:
        """See `Runtime.signature`."""
        return FileSignature(
            _types(self._function.structured_input_signature[1]), _types(self._function.structured_outputs)
        )

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Runtime.run`."""
        try:
            results = self._function(**{self._inputs[name]: tf.constant(array) for name, array in inputs.items()})
            return {name: results[bound].numpy() for name, bound in self._outputs.items()}
        except tf.errors.InvalidArgumentError as error:
            raise InvalidInputError(f"the model rejects the input: {error.message}") from error
        except Exception as error:
            raise ModelRunError(f"TensorFlow cannot run the model: {error}") from error


def _types(specs: Mapping[str, tf.TensorSpec]) -> dict[str, TensorType]:
    return {
        name: TensorType(spec.dtype.name, tuple(-1 if size is None else size for size in spec.shape.as_list()))
        if spec.shape.rank is not None
        else TensorType(spec.dtype.name, ())
        for name, spec in specs.items()
    }
