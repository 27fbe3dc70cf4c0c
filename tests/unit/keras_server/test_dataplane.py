"""An in-process front: it asks the data plane without HTTP, and gets the same checks, limits and metrics."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace as replace_info
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from keras_api.manifest import Tensor
from keras_server.admission import Admission
from keras_server.dataplane import DataPlane, Front, InferRequest
from keras_server.errors import (
    ErrorCode,
    InferenceError,
    InternalError,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
    ServerError,
    TooLargeError,
    UnknownModelError,
)
from keras_server.health import Health, State
from keras_server.metrics import Metrics
from keras_server.model import ModelInfo
from keras_server.protocols import version_names
from keras_server.signature import Signature

IN_PROCESS = Front("in-process", lambda code: code or "ok")
INFO = ModelInfo(
    "doubler",
    "00000000ff",
    "onnxruntime",
    Signature(
        {"x": Tensor(name="x", dtype="float32", shape=[-1])},
        {"y": Tensor(name="y", dtype="float32", shape=[-1]), "z": Tensor(name="z", dtype="float32", shape=[-1])},
    ),
)
REQUEST = InferRequest("doubler", None, {"x": np.array([1, 2], np.float32)})


class Doubler:
    """A model whose output y is twice its input, and z the input."""

    info = INFO

    def __init__(self, before: Callable[[], Any] | None = None) -> None:
        self._before = before

    async def run(self, inputs: Any, rows: int) -> dict[str, Any]:
        if self._before is not None:
            await self._before()
        return {"y": inputs["x"] * 2, "z": inputs["x"]}


class Dependent(Doubler):
    """A model whose rows depend on each other."""

    info = replace_info(INFO, rows_independent=False)


DEPENDENT = Dependent()


class Plane:
    """A data plane, and its metrics."""

    def __init__(
        self,
        model: Doubler | None = None,
        *,
        state: State = State.READY,
        max_requests: int = 9,
        max_bytes: int = 1000,
        accept_non_finite: bool = False,
    ) -> None:
        self.health = Health()
        self.health.become(state, "because")
        self.admission = Admission(max_requests=max_requests, max_bytes=4 * max_bytes, max_request_bytes=max_bytes)
        self.metrics = Metrics(in_flight=lambda: self.admission.requests, ready=lambda: 1)
        self.plane = DataPlane(
            health=self.health,
            admission=self.admission,
            metrics=self.metrics,
            max_rows=4,
            version_names=version_names,
            accept_non_finite=accept_non_finite,
        )
        if model is not None:
            self.plane.serve(model)  # type: ignore[arg-type]

    async def infer(self, **changes: Any) -> dict[str, list[float]]:
        response = await self.plane.infer(IN_PROCESS, replace(REQUEST, **changes))
        return {name: array.tolist() for name, array in response.outputs.items()}

    def counted(self) -> dict[str, float]:
        """Requests by code."""
        text = self.metrics.expose("")[0].decode()
        found = re.findall(r'^keras_server_requests_total\{code="(\w+)",protocol="in-process"\} (\S+)$', text, re.M)
        return {code: float(count) for code, count in found}


async def test_a_request_is_answered_without_http() -> None:
    plane = Plane(Doubler())

    response = await plane.plane.infer(IN_PROCESS, replace(REQUEST, id="7"))

    assert (response.model, response.revision, response.id) == ("doubler", "00000000ff", "7")
    assert {name: array.tolist() for name, array in response.outputs.items()} == {"y": [2, 4], "z": [1, 2]}
    assert plane.counted() == {"ok": 1}


@pytest.mark.parametrize("version", [None, "00000000ff", "255"])
async def test_the_version_has_several_names(version: str | None) -> None:
    assert await Plane(Doubler()).infer(version=version, outputs=("z",)) == {"z": [1, 2]}


async def test_outputs_come_in_the_requested_order() -> None:
    assert list(await Plane(Doubler()).infer(outputs=("z", "y"))) == ["z", "y"]


async def test_one_row_of_a_model_whose_rows_depend_on_each_other_is_answered() -> None:
    plane = Plane(DEPENDENT)

    assert await plane.infer(inputs={"x": np.array([3], np.float32)}, outputs=("y",)) == {"y": [6]}
    assert plane.plane.max_rows(DEPENDENT.info) == 1
    assert plane.plane.max_rows(INFO) == 4


async def test_numbers_that_are_not_finite_are_passed_on_if_they_are_accepted() -> None:
    plane = Plane(Doubler(), accept_non_finite=True)

    assert await plane.infer(inputs={"x": np.array([np.inf], np.float32)}, outputs=("y",)) == {"y": [np.inf]}


async def test_statistics_count_the_requests_for_the_model() -> None:
    plane = Plane(Doubler())

    await plane.infer()
    for changes in ({"inputs": {}}, {"outputs": ("w",)}):
        with pytest.raises(InvalidRequestError):
            await plane.infer(**changes)
    with pytest.raises(UnknownModelError):
        await plane.infer(model="other")

    statistics = plane.plane.statistics
    assert (statistics.success.count, statistics.fail.count) == (1, 2)
    assert statistics.success.ns > statistics.batches()[2].compute_input.ns > 0


def raises(error: BaseException) -> Callable[[], Any]:
    async def before() -> None:
        raise error

    return before


@pytest.mark.parametrize(
    ("plane", "changes", "error", "message"),
    [
        ({"model": None, "state": State.LOADING}, {}, NotReadyError, "loading: because"),
        ({"state": State.LOADING}, {}, NotReadyError, "loading: because"),
        ({"state": State.FAILED}, {}, NotReadyError, "failed: because"),
        ({}, {"model": "other"}, UnknownModelError, "model 'other' is not served here; this server serves 'doubler'"),
        ({}, {"version": "7"}, UnknownModelError, "this server serves '00000000ff' or '255'"),
        ({}, {"inputs": {}}, InvalidRequestError, "input 'x' is missing"),
        ({}, {"inputs": {"x": np.zeros(5, np.float32)}}, InvalidRequestError, "the server takes 1 to 4"),
        ({}, {"inputs": {"x": np.array([1, np.nan], np.float32)}}, InvalidRequestError, "input 'x' has NaN in row 1"),
        ({"model": DEPENDENT}, {}, InvalidRequestError, "2 rows in one request; the answer of this model for a row"),
        ({}, {"outputs": ("w",)}, InvalidRequestError, "the model has no output 'w'; its outputs are 'y' float32 [-1]"),
        ({"max_bytes": 7}, {}, TooLargeError, "exceeds 7 bytes"),
        ({"max_requests": 0}, {}, OverloadedError, "0 requests are in flight"),
        ({"model": Doubler(raises(InferenceError("it broke")))}, {}, InferenceError, "it broke"),
        ({"model": Doubler(raises(ZeroDivisionError()))}, {}, InternalError, "internal error"),
    ],
)
async def test_an_error_has_a_code_which_is_counted(
    plane: dict[str, Any], changes: dict[str, Any], error: type[ServerError], message: str
) -> None:
    data_plane = Plane(**{"model": Doubler(), **plane})

    with pytest.raises(error, match=re.escape(message)):
        await data_plane.infer(**changes)

    assert data_plane.counted() == {error.code: 1}
    assert data_plane.admission.requests == 0


async def test_rejected_requests_are_counted() -> None:
    plane = Plane(Doubler(), max_requests=0)

    with pytest.raises(OverloadedError):
        await plane.infer()

    assert "keras_server_requests_rejected_total 1.0" in plane.metrics.expose("")[0].decode()


async def test_a_request_whose_client_goes_away_is_counted() -> None:
    running = asyncio.Event()

    async def wait_for_ever() -> None:
        running.set()
        await asyncio.Event().wait()

    plane = Plane(Doubler(wait_for_ever))
    request = asyncio.create_task(plane.infer())
    await running.wait()

    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request

    assert plane.counted() == {ErrorCode.CANCELLED: 1}
    assert plane.admission.requests == 0


async def test_a_server_that_drains_still_answers() -> None:
    assert await Plane(Doubler(), state=State.DRAINING).infer(outputs=("y",)) == {"y": [2, 4]}


async def test_an_unexpected_error_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InternalError) as caught:
        await Plane(Doubler(raises(ValueError("a secret")))).infer()

    assert "a secret" not in str(caught.value)
    assert "a secret" in caplog.text
