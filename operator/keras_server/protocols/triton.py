"""Triton's extensions of the Open Inference Protocol: model configuration, statistics and the index of the repository.

NVIDIA's clients begin with these pages: perf_analyzer reads the configuration and compares the statistics before and
after a measurement. The form is that of Triton's documentation; members that do not apply to this server are absent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from keras_api.manifest import ANY_SIZE, Tensor
from keras_runtimes.registry import RUNTIMES
from keras_server.dataplane import DataPlane
from keras_server.errors import InvalidRequestError
from keras_server.health import State
from keras_server.model import ModelInfo
from keras_server.statistics import Batches, Duration

EXTENSIONS = ("model_configuration", "statistics")
"""Names of the extensions that this module has in full. Of the model repository, it has only the index."""

_STATES = {
    State.LOADING: "LOADING",
    State.FAILED: "UNAVAILABLE",
    State.READY: "READY",
    State.DRAINING: "UNLOADING",
}


class _IndexRequest(msgspec.Struct, frozen=True):
    ready: bool | None = None


_decode_index_request = msgspec.json.Decoder(_IndexRequest).decode


def platform(model: ModelInfo) -> str:
    """Triton's name of the model's runtime and file format."""
    return RUNTIMES[model.runtime].platform if model.runtime in RUNTIMES else model.runtime


def model_configuration(plane: DataPlane, model: ModelInfo) -> dict[str, Any]:
    """The model's configuration. The shapes have no batch axis, unless a tensor has a batch of fixed size."""
    signature = model.signature
    tensors = (*signature.inputs.values(), *signature.outputs.values())
    has_batches = all(tensor.shape[:1] == [ANY_SIZE] for tensor in tensors)
    first_axis = 1 if has_batches else 0
    return {
        "name": model.name,
        "platform": platform(model),
        "backend": model.runtime,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": plane.max_rows(model) if has_batches else 0,
        "input": _tensors(signature.inputs.values(), first_axis),
        "output": _tensors(signature.outputs.values(), first_axis),
    }


def model_statistics(plane: DataPlane, model: ModelInfo) -> dict[str, Any]:
    """Counts and durations of the model's requests."""
    statistics = plane.statistics
    batches = statistics.batches()
    total = sum(batches.values(), Batches())
    executions = {rows: each.compute_infer.count for rows, each in batches.items()}
    return {
        "model_stats": [
            {
                "name": model.name,
                "version": model.revision,
                "last_inference": statistics.last_inference_ms,
                "inference_count": sum(rows * count for rows, count in executions.items()),
                "execution_count": sum(executions.values()),
                "inference_stats": {
                    "success": _duration(statistics.success),
                    "fail": _duration(statistics.fail),
                    "queue": _duration(statistics.queue),
                    **_durations(total),
                    "cache_hit": _duration(Duration()),
                    "cache_miss": _duration(Duration()),
                },
                "batch_stats": [{"batch_size": rows, **_durations(each)} for rows, each in batches.items()],
            }
        ]
    }


def all_statistics(plane: DataPlane, _: bytes) -> dict[str, Any]:
    """Statistics of all models, which are one.

    Raises:
        NotReadyError: the bundle has not been opened yet.
    """
    return model_statistics(plane, plane.require_info())


def repository_index(plane: DataPlane, body: bytes) -> list[dict[str, Any]]:
    """Name, version and state of all models, which are one. With ``{"ready": true}``, only of those that are ready.

    Raises:
        NotReadyError: the bundle has not been opened yet.
        InvalidRequestError: the body is not a request for the index.
    """
    try:
        request = _decode_index_request(body or b"{}")
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"the body is not a request for the repository index: {error}") from error
    model, health = plane.require_info(), plane.health
    if request.ready and health.state is not State.READY:
        return []
    return [
        {"name": model.name, "version": model.revision, "state": _STATES[health.state], "reason": health.reason},
    ]


def _tensors(tensors: Iterable[Tensor], first_axis: int) -> list[dict[str, Any]]:
    return [
        {"name": tensor.name, "data_type": f"TYPE_{_data_type(tensor)}", "dims": list(tensor.shape[first_axis:])}
        for tensor in tensors
    ]


def _data_type(tensor: Tensor) -> str:
    return tensor.dtype.upper().replace("FLOAT", "FP")


def _durations(batches: Batches) -> dict[str, Any]:
    return {
        "compute_input": _duration(batches.compute_input),
        "compute_infer": _duration(batches.compute_infer),
        "compute_output": _duration(batches.compute_output),
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}
