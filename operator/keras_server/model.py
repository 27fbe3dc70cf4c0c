"""The served model: its name and signature, known from the manifest, and inference off the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from keras_runtimes.arrays import Array
from keras_runtimes.base import InvalidInputError, ModelRunError, Runtime
from keras_server.bundle import Bundle
from keras_server.errors import InferenceError, InvalidRequestError, NotReadyError, UnknownModelError
from keras_server.signature import Signature, check_inputs
from keras_server.warmup import warm_up


class Model:
    """One model in one version. It can be described at once, and answers after `load`.

    Args:
        bundle: the bundle.
        name: the name that URLs use.
        max_rows: rows that one request may have.
        workers: inferences that run at the same time.
        threads: threads of one inference.
        observe: called after every inference with its number of rows and its seconds; from any thread.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        name: str,
        max_rows: int,
        workers: int,
        threads: int,
        observe: Callable[[int, float], None],
    ) -> None:
        self.name = name
        self.revision = bundle.manifest.revision
        self.platform = bundle.manifest.model.runtime
        self.signature = Signature.of(bundle.manifest.model)
        self.version_number = version_number(self.revision)
        self._bundle = bundle
        self._max_rows = max_rows
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

    def expect(self, name: str, version: str | None) -> None:
        """See that a request means this model.

        Args:
            name: the name that was asked for.
            version: the revision, or its number as TensorFlow Serving's clients want it; None for any.

        Raises:
            UnknownModelError: naming what is served here.
        """
        if name != self.name:
            raise UnknownModelError(f"model {name!r} is not served here; this server serves {self.name!r}")
        if version not in (None, self.revision, self.version_number):
            raise UnknownModelError(
                f"version {version!r} of {self.name!r} is not served here; "
                f"this server serves {self.revision!r} (as a number: {self.version_number})"
            )

    async def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Check the arrays and run the model on them.

        Raises:
            InvalidRequestError: when the arrays do not fit, or the model refuses their values.
            InferenceError: when the runtime fails.
            NotReadyError: before `load` has succeeded.
        """
        if self._runtime is None:
            raise NotReadyError(f"model {self.name!r} is not loaded")
        rows = check_inputs(self.signature, inputs, max_rows=self._max_rows)
        return await asyncio.wrap_future(self._executor.submit(self._infer, self._runtime, inputs, rows))

    def _infer(self, runtime: Runtime, inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
        begin = time.perf_counter()
        try:
            outputs = runtime.run(inputs)
        except InvalidInputError as error:
            raise InvalidRequestError(str(error)) from error
        except ModelRunError as error:
            raise InferenceError(str(error)) from error
        self._observe(rows, time.perf_counter() - begin)
        return outputs


def version_number(revision: str) -> str:
    """The revision, which is hexadecimal, as the int64 in decimal that a version is to TensorFlow Serving."""
    try:
        return str(int(revision, 16) % 2**63)
    except ValueError:  # a bundle made by hand
        return "1"
