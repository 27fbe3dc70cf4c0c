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
from keras_server.signature import Signature, check_outputs
from keras_server.statistics import Execution


@dataclass(frozen=True)
class ModelInfo:
    """Description of a model.

    Attributes:
        name: that requests use.
        revision: the version that is served.
        runtime: that runs the model.
        signature: inputs and outputs.
        rows_independent: whether the answer for a row is the same whatever the other rows of a request are.
    """

    name: str
    revision: str
    runtime: str
    signature: Signature
    rows_independent: bool = True

    @classmethod
    def of(cls, bundle: Bundle, name: str) -> ModelInfo:
        """The description in a bundle's manifest."""
        manifest = bundle.manifest
        model = manifest.model
        return cls(name, manifest.revision, model.runtime, Signature.of(model), model.rows_independent)


class Model:
    """One model in one version, which runs after `load`.

    Args:
        bundle: the bundle.
        name: the name that requests use.
        workers: inferences that run at the same time.
        threads: threads of one inference.
        observe: called after every inference; from any thread.
    """

    def __init__(
        self, bundle: Bundle, *, name: str, workers: int, threads: int, observe: Callable[[Execution], None]
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
            InferenceError: the runtime fails, or its outputs do not fit the signature.
            NotReadyError: `load` has not succeeded.
        """
        if self._runtime is None:
            raise NotReadyError(f"model {self.info.name!r} is not loaded")
        submitted = time.perf_counter()
        return await asyncio.wrap_future(self._executor.submit(self._run, self._runtime, inputs, rows, submitted))

    def _run(self, runtime: Runtime, inputs: Arrays, rows: int, submitted: float) -> dict[str, Array]:
        begin = time.perf_counter()
        try:
            outputs = runtime.run(inputs)
        except InvalidInputError as error:
            raise InvalidRequestError(str(error)) from error
        except ModelRunError as error:
            raise InferenceError(str(error)) from error
        end = time.perf_counter()
        try:
            check_outputs(self.info.signature, outputs, rows=rows, runtime=self.info.runtime)
        finally:
            self._observe(Execution(rows, begin - submitted, end - begin, time.perf_counter() - end))
        return outputs
