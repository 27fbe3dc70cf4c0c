"""Runtimes: what runs a bundle's files on arrays. Each is imported only when a bundle asks for it."""

from __future__ import annotations

from keras_server.bundle import Bundle, BundleError
from keras_server.runtimes.base import Runtime


def load_runtime(bundle: Bundle, *, threads: int) -> Runtime:
    """Load the bundle's model into its runtime.

    Args:
        bundle: the bundle.
        threads: threads that may work on one inference.

    Raises:
        BundleError: when this server cannot run the bundle, or the files do not hold what the manifest says.
    """
    # The imports stand here because TensorFlow takes seconds and 600 MiB, and the slim image does not have it.
    match bundle.manifest.model.runtime:
        case "onnxruntime":
            from keras_server.runtimes.onnxruntime import OnnxRuntime

            return OnnxRuntime(bundle, threads=threads)
        case "tensorflow":
            from keras_server.runtimes.tensorflow import TensorFlowRuntime

            return TensorFlowRuntime(bundle, threads=threads)
        case other:
            raise BundleError(f"the bundle wants the runtime {other!r}; this server has onnxruntime and tensorflow")
