"""Requests that the model would answer otherwise than Keras are rejected, and the others are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Serving = Callable[[str], Any]
Start = Callable[..., Any]


def tensor(name: str, data: Any, shape: list[int] | None = None, **more: Any) -> dict[str, Any]:
    array = np.array(data)
    return {"name": name, "shape": shape or list(array.shape), "datatype": "FP32", "data": data, **more}


def infer(server: Any, *inputs: dict[str, Any], **more: Any) -> Any:
    name = server.get("/").json["model"]
    return server.post(f"/v2/models/{name}/infer", {"inputs": inputs, **more})


def predict(server: Any, body: Any) -> Any:
    return server.post(f"/v1/models/{server.get('/').json['model']}:predict", body)


# Python writes NaN and the infinities as tokens.
@pytest.mark.parametrize(
    ("x", "complaint"),
    [
        ([[1, 2], [3, float("nan")]], "input 'x' has NaN in row 1 at [1]: fill the gap before the request, or set"),
        ([[1, 2], [float("inf"), 4]], "input 'x' has Infinity in row 1 at [0]"),
        ([[1, 2], [float("-inf"), float("nan")]], "input 'x' has -Infinity in row 1 at [0]"),
    ],
)
def test_nan_and_infinities_are_rejected_with_their_position(serving: Serving, x: Any, complaint: str) -> None:
    server = serving("copy")

    for answer in (
        predict(server, {"instances": x}),
        predict(server, {"inputs": {"x": x}}),
        infer(server, tensor("x", x)),
    ):
        assert answer.status == 400
        assert complaint in answer.json["error"]
        assert "spec.serving.nonFinite: pass" in answer.json["error"]


@pytest.mark.parametrize("option", ["flag", "variable"])
def test_nan_and_infinities_are_passed_on_if_the_model_wants_them(
    start: Start, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    if option == "variable":
        monkeypatch.setenv("KERAS_SERVER_NON_FINITE", "pass")
    server = start("copy", *(("--non-finite", "pass") if option == "flag" else ())).listening().ready()
    x = [[float("nan"), float("inf"), -1], [float("-inf"), 0, 1]]

    assert predict(server, {"instances": x}).json == {"predictions": [[None, None, -1], [None, 0, 1]]}
    answer = infer(server, tensor("x", x), parameters={"binary_data_output": True})
    length = int(answer.headers["Inference-Header-Content-Length"])
    np.testing.assert_array_equal(np.frombuffer(answer.body[length:], "<f4").reshape(2, 3), np.array(x, np.float32))


def test_null_members_are_absent(serving: Serving) -> None:
    server = serving("copy")
    x = tensor("x", [[1, 2]], parameters=None)

    assert infer(server, x, id=None, parameters=None, outputs=None).json["outputs"][0]["data"] == [1, 2]
    outputs = [{"name": "y", "parameters": None}]
    assert infer(server, x, outputs=outputs, parameters={"binary_data_output": None}).status == 200
    row = {"instances": [[1, 2]], "inputs": None, "signature_name": None}
    assert predict(server, row).json == {"predictions": [[1, 2]]}
    assert predict(server, {"instances": None, "inputs": [[1, 2]]}).json == {"outputs": [[1, 2]]}


@pytest.mark.parametrize(
    ("x", "shape", "complaint"),
    [
        ([], [1, 0], "input 'x' has size 0 in axis 1 of its shape [1, 0]; the model takes 2 to 5"),
        ([1], [1, 1], "input 'x' has size 1 in axis 1 of its shape [1, 1]; the model takes 2 to 5"),
        ([1] * 6, [1, 6], "input 'x' has size 6 in axis 1 of its shape [1, 6]; the model takes 2 to 5"),
    ],
)
def test_sizes_that_the_model_does_not_accept_are_rejected(
    serving: Serving, x: list[float], shape: list[int], complaint: str
) -> None:
    answer = infer(serving("bounded"), tensor("x", x, shape))

    assert (answer.status, answer.json["error"]) == (400, complaint)


def test_an_empty_row_is_rejected_whatever_sizes_are_known(serving: Serving) -> None:
    answer = predict(serving("copy"), {"instances": [[], []]})

    assert answer.status == 400
    assert "input 'x' has size 0 in axis 1 of its shape [2, 0]; the model takes 1 or more" in answer.json["error"]


def test_an_answer_of_another_shape_than_keras_has_is_an_error(serving: Serving) -> None:
    server = serving("bounded")

    assert predict(server, {"instances": [[1, 2, 3, 4]]}).json == {"predictions": [[1, 2, 3, 4]]}
    answer = predict(server, {"instances": [[1, 2, 3]]})
    assert answer.status == 500
    assert "output 'y' has shape [1, 3], not [1, 4]" in answer.json["error"]
    assert "set spec.serving.runtime: tensorflow" in answer.json["error"]


def test_a_model_whose_rows_depend_on_each_other_takes_one_row(serving: Serving) -> None:
    server = serving("deviation")

    assert predict(server, {"instances": [[1, 2]]}).json == {"predictions": [[0, 0]]}
    answer = predict(server, {"instances": [[1, 2], [3, 4]]})
    assert answer.status == 400
    assert answer.json["error"].startswith("2 rows in one request; the answer of this model for a row depends on")
    assert "send one request for each row" in answer.json["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [0.5] * 16},
        {"instances": [[0.5] * 16]},
        {"instances": [{"picture": [0.5] * 16}]},
        {"inputs": [[0.5] * 16]},
        {"inputs": {"picture": [0.5] * 16}},
    ],
)
def test_a_flat_row_is_answered_with_the_form_of_a_row(serving: Serving, body: Any) -> None:
    answer = predict(serving("picture"), body)

    assert answer.status == 400
    form = "a row of 'picture' has shape [4, 4, 1] and looks like [[[0.0], ...], ...]"
    assert form in answer.json["error"]


def test_a_flat_row_with_its_shape_is_answered_with_the_form_of_a_row(serving: Serving) -> None:
    answer = infer(serving("picture"), tensor("picture", [0.5] * 16, [1, 16]))

    assert answer.status == 400
    assert (
        "input 'picture' has shape [1, 16]; the model takes [-1, 4, 4, 1]; a row of 'picture'" in answer.json["error"]
    )
