"""TensorFlow: the SavedModel's `serve` signature as a concrete function. No Keras, no `model.predict`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from keras_server.bundle import Bundle, BundleError
from keras_server.dtypes import Array
from keras_server.errors import InferenceError, InvalidRequestError

# TensorFlow reads these when it is imported: no search for GPUs, errors only.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

SIGNATURES = ("serve", "serving_default")


class TensorFlowRuntime:
    """A loaded SavedModel."""

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        manifest = bundle.manifest
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        try:
            # The variables live as long as this object does; the function alone would not keep them.
            self._model = tf.saved_model.load(str(bundle.entry))
        except Exception as error:
            raise BundleError(f"TensorFlow cannot load {bundle.entry}: {error}") from error
        signatures = self._model.signatures
        present = [name for name in SIGNATURES if name in signatures]
        if not present:
            raise BundleError(f"{bundle.entry} has no signature {SIGNATURES[0]!r}; it has {sorted(signatures)}")
        self._function = signatures[present[0]]
        self._inputs = {t.name: manifest.input_bindings.get(t.name, t.name) for t in manifest.model.inputs}
        self._outputs = {t.name: manifest.output_bindings.get(t.name, t.name) for t in manifest.model.outputs}
        for kind, wanted, there in (
            ("inputs", self._inputs, self._function.structured_input_signature[1]),
            ("outputs", self._outputs, self._function.structured_outputs),
        ):
            if set(wanted.values()) != set(there):
                raise BundleError(
                    f"the manifest's {kind} are {sorted(wanted.values())}, those of {bundle.entry} {sorted(there)}"
                )

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Runtime.infer`."""
        try:
            results = self._function(**{self._inputs[name]: tf.constant(array) for name, array in inputs.items()})
            return {name: results[bound].numpy() for name, bound in self._outputs.items()}
        except tf.errors.InvalidArgumentError as error:
            raise InvalidRequestError(f"the model refuses the input: {error.message}") from error
        except Exception as error:
            raise InferenceError(f"TensorFlow failed: {error}") from error
