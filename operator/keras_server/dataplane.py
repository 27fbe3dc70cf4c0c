"""The data plane: an inference request in, its response out, whatever the protocol.

A front (`keras_server.http_front`) decodes requests into `InferRequest` and encodes `InferResponse`. Admission, checks,
the run of the model and the metrics of requests are here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from keras_runtimes.arrays import Array, Arrays
from keras_server.admission import Admission
from keras_server.errors import (
    ErrorCode,
    InferenceError,
    InternalError,
    InvalidRequestError,
    ServerError,
    UnknownModelError,
)
from keras_server.finite import check_finite
from keras_server.health import Health
from keras_server.metrics import Metrics
from keras_server.model import Model, ModelInfo
from keras_server.signature import check_inputs
from keras_server.statistics import Statistics

log = logging.getLogger(__name__)


class InferRequest(msgspec.Struct, frozen=True):
    """An inference request.

    Attributes:
        model: the model's name.
        version: a name of its version; None for the version that is served.
        inputs: arrays by the input's name; strings are `bytes` in an object array.
        outputs: names of the requested outputs; all when empty.
        id: the client's name for the request, which its response repeats.
    """

    model: str
    version: str | None
    inputs: Arrays
    outputs: tuple[str, ...] = ()
    id: str | None = None


class InferResponse(msgspec.Struct, frozen=True):
    """The response to an inference request.

    Attributes:
        model: the model's name.
        revision: the version that answered.
        outputs: arrays by the output's name, in the requested order.
        id: that of the request.
    """

    model: str
    revision: str
    outputs: dict[str, Array]
    id: str | None = None


class Front(msgspec.Struct, frozen=True):
    """Where requests come from, for the labels of metrics.

    Attributes:
        protocol: its name.
        status: its own status for an error code, or for a response (None).
    """

    protocol: str
    status: Callable[[ErrorCode | None], int | str]


class DataPlane:
    """Answers inference requests for one model.

    Args:
        health: whether requests are answered.
        admission: the limits on requests in flight.
        metrics: where requests are counted.
        max_rows: maximum number of rows of one request.
        version_names: the names of a revision that requests may use, besides the revision itself.
        accept_non_finite: whether inputs may have NaN and infinities.
        statistics: where requests are counted for the statistics page.
    """

    def __init__(
        self,
        *,
        health: Health,
        admission: Admission,
        metrics: Metrics,
        max_rows: int,
        version_names: Callable[[str], tuple[str, ...]],
        accept_non_finite: bool = False,
        statistics: Statistics | None = None,
    ) -> None:
        self.health = health
        self.statistics = statistics or Statistics()
        self._admission = admission
        self._metrics = metrics
        self._max_rows = max_rows
        self._accept_non_finite = accept_non_finite
        self._version_names = version_names
        self._model: Model | None = None
        self._aliases: tuple[str, ...] = ()

    @property
    def info(self) -> ModelInfo | None:
        """The model that is served; None until its bundle has been opened."""
        return self._model.info if self._model else None

    def require_info(self) -> ModelInfo:
        """The model that is served.

        Raises:
            NotReadyError: the bundle has not been opened yet.
        """
        if self._model is None:
            raise self.health.not_ready()
        return self._model.info

    def max_rows(self, model: ModelInfo) -> int:
        """Maximum number of rows of one request."""
        return self._max_rows if model.rows_independent else 1

    def serve(self, model: Model) -> None:
        """Set the model, once its bundle has been opened. Until then all requests for it fail with NOT_READY."""
        self._model = model
        self._aliases = self._version_names(model.info.revision)

    def describe(self, name: str, version: str | None) -> ModelInfo:
        """The description of a model.

        Args:
            name: the model's name.
            version: a name of its version; None for the version that is served.

        Raises:
            NotReadyError: the bundle has not been opened yet.
            UnknownModelError: naming the model or the version that is served.
        """
        return self._find(name, version).info

    async def infer(self, front: Front, request: InferRequest) -> InferResponse:
        """Answer a request that has been decoded.

        Raises:
            ServerError: with a code.
        """
        size = sum(byte_size(array) for array in request.inputs.values())
        with self.admit(front, request.model, request.version, size) as call:
            return await call.infer(request)

    @contextmanager
    def admit(self, front: Front, name: str, version: str | None, size: int | None) -> Iterator[Call]:
        """Admit a request before its body is read, and count it when the block ends.

        Args:
            front: where the request comes from.
            name: the model's name.
            version: a name of its version; None for the version that is served.
            size: of the body in bytes, None when unknown.

        Raises:
            ServerError: with a code. Any other error in the block becomes an InternalError.
        """
        begin = time.perf_counter()
        code: ErrorCode | None = None
        model: Model | None = None
        try:
            model = self._find(name, version)
            self.health.require_serving()
            with self._admission.admit(size):
                yield Call(self, model)
        except ServerError as error:
            code = error.code
            if isinstance(error, InferenceError):
                log.exception("inference failed")
            raise
        except asyncio.CancelledError:
            code = ErrorCode.CANCELLED
            raise
        except Exception as error:
            code = ErrorCode.INTERNAL
            log.exception("an inference request failed unexpectedly")
            raise InternalError from error
        finally:
            seconds = time.perf_counter() - begin
            self._metrics.observe_request(
                front.protocol, front.status(code), seconds, rejected=code is ErrorCode.OVERLOADED
            )
            if model is not None:
                self.statistics.observe_request(seconds, success=code is None)

    def check(self, model: ModelInfo, inputs: Arrays) -> int:
        """Check that arrays are a request that the model answers as Keras does.

        Returns:
            Their number of rows.

        Raises:
            InvalidRequestError: naming the input and the remedy.
        """
        rows = check_inputs(model.signature, inputs, max_rows=self._max_rows)
        if rows > 1 and not model.rows_independent:
            raise InvalidRequestError(
                f"{rows} rows in one request; the answer of this model for a row depends on the other rows "
                "(spec.serving.rowsIndependent: false): send one request for each row"
            )
        if not self._accept_non_finite:
            check_finite(inputs)
        return rows

    def _find(self, name: str, version: str | None) -> Model:
        if self._model is None:
            raise self.health.not_ready()
        info = self._model.info
        if name != info.name:
            raise UnknownModelError(f"model {name!r} is not served here; this server serves {info.name!r}")
        if version not in (None, info.revision, *self._aliases):
            served = " or ".join(map(repr, (info.revision, *self._aliases)))
            raise UnknownModelError(f"version {version!r} of {name!r} is not served here; this server serves {served}")
        return self._model


class Call:
    """A request that has been admitted."""

    def __init__(self, plane: DataPlane, model: Model) -> None:
        self._plane = plane
        self._model = model

    @property
    def info(self) -> ModelInfo:
        """The model."""
        return self._model.info

    async def infer(self, request: InferRequest) -> InferResponse:
        """Check the request, and run the model on it.

        Raises:
            ServerError: with a code.
        """
        info = self._model.info
        names = request.outputs or tuple(info.signature.outputs)
        for name in names:
            info.signature.output(name)
        begin = time.perf_counter()
        rows = self._plane.check(info, request.inputs)
        checked = time.perf_counter()
        outputs = await self._model.run(request.inputs, rows)
        self._plane.statistics.observe_input(rows, checked - begin)
        return InferResponse(info.name, info.revision, {name: outputs[name] for name in names}, request.id)


def byte_size(array: Array) -> int:
    """Bytes of an array's elements."""
    return sum(map(len, array.ravel().tolist())) if array.dtype.hasobject else array.nbytes
