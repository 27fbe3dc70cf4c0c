"""The parity search without Keras: how answers are compared, what a lost worker costs, and the page that is written."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from parity import page, results  # noqa: E402
from parity.comparison import cause, differences, first_difference  # noqa: E402
from parity.model import Probe  # noqa: E402
from parity.results import Difference, Result, Verdict  # noqa: E402
from parity.workers import Pool  # noqa: E402

from keras_runtimes.tolerance import FULL_PRECISION  # noqa: E402

# Answers every case with its name, except for two that it does not answer.
WORKER = """
import json, sys
for line in sys.stdin:
    name = line.strip()
    if name == "ends": sys.exit(3)
    if name == "hangs": sys.stdin.read()
    nothing = {"wrong": [], "unaccepted": [], "tensorflow": []}
    print(json.dumps({"subject": name, "variant": "", "verdict": "equal", **nothing}), flush=True)
"""


def floats(*rows: list[float]) -> np.ndarray:
    return np.array(rows, "float32")


@pytest.mark.parametrize(
    ("want", "got", "place"),
    [
        (floats([1, 2]), floats([1, 2]), None),
        (floats([1, 2]), floats([1, 2.1]), (0, 1)),
        (floats([np.nan, np.inf]), floats([np.nan, np.inf]), None),
        (floats([np.nan]), floats([0]), (0, 0)),
        (floats([np.inf]), floats([3e38]), (0, 0)),
        (floats([np.inf]), floats([-np.inf]), (0, 0)),
        (floats([1e10, 0]), floats([1e10, 1]), None),
        (floats([1e10], [0]), floats([1e10], [1]), (1, 0)),
        (np.array([3, 4]), np.array([3, 5]), (1,)),
        (np.array(["a", "b"]), np.array(["a", "c"]), (1,)),
        (np.zeros((2, 0)), np.zeros((2, 0)), None),
    ],
)
def test_the_place_of_the_largest_difference_is_found(want, got, place):
    assert first_difference(want, got, FULL_PRECISION) == place


def test_a_difference_of_form_or_of_success_is_reported_once_for_each_kind():
    probes = [Probe(kind, (floats([1.0]),)) for kind in ("shape", "shape", "type", "fails", "answers", "both fail")]
    inputs = [{"x": floats([float(index)])} for index in range(len(probes))]
    answers = [floats([1]), floats([1]), floats([1]), floats([1]), ValueError("Keras rejects it"), ValueError("no")]
    got = [floats([1, 1]), floats([1, 1]), np.array([[1]]), ValueError("cannot run"), floats([1]), ValueError("no")]

    def run(arrays):
        answer = got[int(arrays["x"][0, 0])]
        if isinstance(answer, Exception):
            raise answer
        return {"y": answer}

    expected = [each if isinstance(each, Exception) else {"y": each} for each in answers]
    found = differences(run, probes, inputs, expected, FULL_PRECISION)
    assert [(each.kind, each.count) for each in found] == [("shape", 2), ("type", 1), ("fails", 1), ("answers", 1)]
    assert (found[0].keras, found[0].runtime) == ("y: float32[1, 1]", "float32[1, 2]")
    assert (found[2].runtime, found[3].keras) == ("error: cannot run", "error: Keras rejects it")


@pytest.mark.parametrize(
    ("values", "accepted"), [([1.0], True), ([np.nan], False), ([np.inf], False), ([], False)], ids=str
)
def test_inputs_that_the_server_rejects_are_no_errors(values, accepted):
    assert Probe("any", (floats(values),)).accepted is accepted


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            "Exception encountered when calling Apply.call(). Load model from /tmp/parity-ab1/model.onnx failed:No Op",
            "No Op",
        ),
        (
            'Detected at node a/b\n  File "/home/me/a.py", line 3, in f\n\nindex -1 is outside\n\t [[{{node a/b}}]]',
            "index -1 is outside",
        ),
        ("cannot read /home/me/a.py", "cannot read a file"),
        ("Could not infer.\n\nError encountered:\n\nNo kernel\n\nArguments received by A.call():", "No kernel"),
    ],
)
def test_a_cause_is_short_and_names_no_file_of_this_machine(message, text):
    assert cause(ValueError(message)) == text


def test_a_worker_that_ends_or_hangs_costs_one_result():
    with Pool(1, seconds=2.0, command=[sys.executable, "-c", WORKER]) as pool:
        found = list(pool.map(["first", "ends", "second", "hangs", "third"]))
    assert [each.subject for each in found] == ["first", "ends", "second", "hangs", "third"]
    assert [each.cause for each in found] == ["", "the process ended (3)", "", "no answer within 2 s", ""]


def test_results_are_read_as_written(tmp_path):
    difference = Difference("huge", True, ["int32[1] [7]"], "y0[0] = 1", "2")
    result = Result("ops.add", "int32", Verdict.WRONG, wrong=[difference], rewrites=["AddV2"])
    results.write(tmp_path / "results.json", [result])
    assert results.read(tmp_path / "results.json") == [result]


def test_the_page_groups_variants_and_shows_wrong_answers():
    wrong = Difference("huge", True, ["int32[1] [7]"], "y0[0] = 1 | 2\n3", "4")
    found = [
        Result("layers.Dense", "default", Verdict.EQUAL),
        Result("layers.Dense", "no bias", Verdict.EQUAL),
        Result("layers.Dense", "float8", Verdict.TENSORFLOW, "it has no operation Cast"),
        Result("ops.add", "int32", Verdict.WRONG, wrong=[wrong]),
    ]
    lines = page.page(found, {"layers.Layer": "the base class"}, {"keras": "3.15.1"}).splitlines()
    assert "| `layers.Dense` | equal | `default`; `no bias` |  |" in lines
    assert "| `layers.Dense` | TensorFlow only | `float8` | `it has no operation Cast` |" in lines
    assert "| `ops.add [int32]` | huge | `int32[1] [7]` | `y0[0] = 1 / 2 3` | `4` |" in lines
    assert "| `layers.Layer` | the base class |" in lines
