"""Triton's pages: the configuration of every kind of model, and the index in every state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from keras_api.manifest import Dtype, Tensor
from keras_server.admission import Admission
from keras_server.dataplane import DataPlane
from keras_server.errors import InvalidRequestError, NotReadyError
from keras_server.health import Health, State
from keras_server.metrics import Metrics
from keras_server.model import ModelInfo
from keras_server.protocols import oip, triton
from keras_server.signature import Signature
from keras_server.statistics import Execution


class Model:
    """A model that is not run."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info


def tensors(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    return {name: Tensor(name=name, dtype="float32", shape=shape) for name, shape in shapes.items()}


def info(inputs: dict[str, list[int]], outputs: dict[str, list[int]]) -> ModelInfo:
    return ModelInfo("m", "00000000ff", "tensorflow", Signature(tensors(inputs), tensors(outputs)))


INFO = info({"x": [-1, 2]}, {"y": [-1]})


def plane(model: ModelInfo | None = INFO, state: State = State.READY) -> DataPlane:
    health = Health()
    health.become(state, "because")
    admission = Admission(max_requests=9, max_bytes=9, max_request_bytes=9)
    metrics = Metrics(in_flight=lambda: 0, ready=lambda: 1)
    found = DataPlane(
        health=health, admission=admission, metrics=metrics, max_rows=64, version_names=lambda revision: (revision,)
    )
    if model is not None:
        found.serve(Model(model))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("model", "max_batch_size", "dims"),
    [
        (INFO, 64, [[2], []]),
        (replace(INFO, rows_independent=False), 1, [[2], []]),
        (info({"x": [-1, -1, 3]}, {"y": [-1, -1]}), 64, [[-1, 3], [-1]]),
        (info({"x": [5, 2]}, {"y": [5]}), 0, [[5, 2], [5]]),
        (info({"x": [-1, 2]}, {"y": []}), 0, [[-1, 2], []]),
    ],
    ids=["rows", "one row", "free axes", "fixed batch", "no rows in the output"],
)
async def test_the_shapes_have_the_batch_axis_only_without_batches(
    model: ModelInfo, max_batch_size: int, dims: list[list[int]]
) -> None:
    found = triton.model_configuration(plane(model), model)

    assert (found["max_batch_size"], found["platform"], found["backend"]) == (
        max_batch_size,
        "tensorflow_savedmodel",
        "tensorflow",
    )
    assert [tensor["dims"] for tensor in (*found["input"], *found["output"])] == dims


@pytest.mark.parametrize("dtype", get_args(Dtype))
async def test_every_type_has_the_name_of_the_protocol(dtype: Any) -> None:
    model = replace(INFO, signature=Signature({"x": Tensor(name="x", dtype=dtype, shape=[-1])}, {}))

    (tensor,) = triton.model_configuration(plane(model), model)["input"]

    # Triton's configuration has another name for one type only.
    assert tensor["data_type"] == f"TYPE_{oip.DATATYPES[dtype]}".replace("BYTES", "STRING")


@pytest.mark.parametrize(
    ("state", "name", "is_ready"),
    [
        (State.LOADING, "LOADING", False),
        (State.FAILED, "UNAVAILABLE", False),
        (State.READY, "READY", True),
        (State.DRAINING, "UNLOADING", False),
    ],
)
async def test_the_index_has_the_state_and_its_reason(state: State, name: str, is_ready: bool) -> None:
    found = triton.repository_index(plane(state=state), b"")

    assert found == [{"name": "m", "version": "00000000ff", "state": name, "reason": "because"}]
    assert triton.repository_index(plane(state=state), b'{"ready": false}') == found
    assert triton.repository_index(plane(state=state), b'{"ready": true}') == (found if is_ready else [])


async def test_before_the_bundle_is_open_there_is_no_index() -> None:
    for page in (triton.repository_index, triton.all_statistics):
        with pytest.raises(NotReadyError, match="loading: because"):
            page(plane(None, State.LOADING), b"")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"ready": "yes"}'])
async def test_a_body_that_is_no_request_for_the_index_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="the body is not a request for the repository index"):
        triton.repository_index(plane(), body)


async def test_statistics_add_up() -> None:
    server = plane()
    for rows in (1, 4, 4):
        server.statistics.observe_input(rows, 1e-9)
        server.statistics.observe_inference(Execution(rows, 2e-9, 3e-9, 4e-9))
    server.statistics.observe_request(20e-9, success=True)
    server.statistics.observe_request(30e-9, success=False)

    (found,) = triton.all_statistics(server, b"")["model_stats"]

    def times(count: int) -> dict[str, Any]:
        seconds = {"compute_input": 1, "compute_infer": 3, "compute_output": 4}
        return {name: {"count": count, "ns": count * ns} for name, ns in seconds.items()}

    assert (found["inference_count"], found["execution_count"]) == (9, 3)
    assert found["batch_stats"] == [{"batch_size": 1, **times(1)}, {"batch_size": 4, **times(2)}]
    assert found["inference_stats"] == {
        "success": {"count": 1, "ns": 20},
        "fail": {"count": 1, "ns": 30},
        "queue": {"count": 3, "ns": 6},
        **times(3),
        "cache_hit": {"count": 0, "ns": 0},
        "cache_miss": {"count": 0, "ns": 0},
    }
