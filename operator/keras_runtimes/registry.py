"""The runtimes, by name. A runtime is a module of this package with a function `load`, and one line here.

A new runtime also needs its converter (`keras_pipeline.converters`), its memory (`keras_api.memory`), and its name in
`spec.serving.runtime` (`keras_api.resource.serving`); a test compares these lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from keras_runtimes.base import ConvertedModel, Runtime
from keras_runtimes.environment import configure


@dataclass(frozen=True)
class RuntimeInfo:
    """What is known of a runtime before it is imported.

    Attributes:
        name: in manifests and in `spec.serving.runtime`; also the name of its module in this package.
        entry: its file or folder in a bundle.
        platform: its name in the Open Inference Protocol's model metadata.
    """

    name: str
    entry: str
    platform: str

    def load(self, model: ConvertedModel, *, threads: int) -> Runtime:
        """Import the runtime and load a model into it.

        The import is late because TensorFlow takes seconds and 600 MiB, and the server image does not have it.

        Args:
            model: the converted model.
            threads: threads that may work on one inference.

        Raises:
            ModelLoadError: the runtime cannot load the files, or they do not hold what `model` declares.
        """
        configure(threads)
        runtime: Runtime = import_module(f"keras_runtimes.{self.name}").load(model, threads=threads)
        return runtime


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        RuntimeInfo("onnxruntime", entry="model.onnx", platform="onnxruntime_onnx"),
        RuntimeInfo("tensorflow", entry="saved_model", platform="tensorflow_savedmodel"),
    )
}
"""All runtimes, fastest first."""
