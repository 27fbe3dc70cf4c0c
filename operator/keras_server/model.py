"""The served model: its description, known from the manifest, and its runs, off the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from keras_runtimes.arrays import Array, Arrays
from keras_runtimes.base import InvalidInputError, ModelRunError, Runtime
from keras_runtimes.bundle import Bundle
from keras_runtimes.warmup import warm_up
from keras_server.errors import InferenceError, InvalidRequestError, NotReadyError
from keras_server.signature import Signature


@dataclass(frozen=True)
class ModelInfo:
    """Description of a model.

    Attributes:
        name: that requests use.
        revision: the version that is served.
        runtime: that runs the model.
        signature: inputs and outputs.
    """

    name: str
    revision: str
    runtime: str
    signature: Signature

    @classmethod
    def of(cls, bundle: Bundle, name: str) -> ModelInfo:
        """The description in a bundle's manifest."""
        manifest = bundle.manifest
        return cls(name, manifest.revision, manifest.model.runtime, Signature.of(manifest.model))


class Model:
    """One model in one version, which runs after `load`.

    Args:
        bundle: the bundle.
        name: the name that requests use.
        workers: inferences that run at the same time.
        threads: threads of one inference.
        observe: called after every inference with its number of rows and its seconds; from any thread.
    """

    def __init__(
        self, bundle: Bundle, *, name: str, workers: int, threads: int, observe: Callable[[int, float], None]
    ) -> None:
        self.info = ModelInfo.of(bundle, name)
        self._bundle = bundle
        self._threads = threads
        self._observe = observe
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="inference")
        self._runtime: Runtime | None = None

    async def load(self) -> None:
        """Load the runtime and warm it up.

        Raises:
            BundleError: the bundle cannot be run.
            GoldenMismatchError, InvalidInputError, ModelRunError: it runs, but not as Keras did.
        """
        await asyncio.wrap_future(self._executor.submit(self._load))

    def _load(self) -> None:
        runtime = self._bundle.load(threads=self._threads)
        warm_up(runtime, self._bundle.manifest.model, self._bundle.golden())
        self._runtime = runtime

    async def run(self, inputs: Arrays, rows: int) -> dict[str, Array]:
        """Run the model on arrays that fit its signature.

        Args:
            inputs: arrays by the input's name.
            rows: their number of rows.

        Raises:
            InvalidRequestError: the model rejects a value.
            InferenceError: the runtime fails.
            NotReadyError: `load` has not succeeded.
        """
        if self._runtime is None:
            raise NotReadyError(f"model {self.info.name!r} is not loaded")
        return await asyncio.wrap_future(self._executor.submit(self._run, self._runtime, inputs, rows))

    def _run(self, runtime: Runtime, inputs: Arrays, rows: int) -> dict[str, Array]:
        begin = time.perf_counter()
        try:
            outputs = runtime.run(inputs)
        except InvalidInputError as error:
            raise InvalidRequestError(str(error)) from error
        except ModelRunError as error:
            raise InferenceError(str(error)) from error
        self._observe(rows, time.perf_counter() - begin)
        return outputs
