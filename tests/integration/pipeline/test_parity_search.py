"""The parity search knows all layers and operations, and finds a wrong answer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from parity import product, registry  # noqa: E402
from parity.measure import measure  # noqa: E402
from parity.results import Verdict  # noqa: E402


def test_every_layer_and_operation_has_a_case_or_a_reason():
    assert registry.missing() == []


def test_no_case_or_reason_is_for_something_that_keras_does_not_have():
    offered = set(registry.public_names())
    subjects = {case.subject for case in registry.cases().values()}
    assert subjects - offered == set()
    assert set(registry.UNCOVERED) - offered == set()


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("ops.abs [float32]", Verdict.EQUAL),
        ("ops.floor_divide [by -3, int32]", Verdict.REWRITTEN),
        ("ops.digitize [3 bins, int32]", Verdict.TENSORFLOW),
        ("ops.rsqrt [int32]", Verdict.REJECTED),
        ("layers.Cropping1D [2]", Verdict.EQUAL),  # for the lengths that the server accepts
    ],
)
def test_a_case_is_measured(name, verdict):
    assert measure(registry.case(name)).verdict is verdict


def test_a_wrong_answer_is_found(monkeypatch):
    opened = product.Prepared.open

    class WithoutSign:
        """Answers with the absolute value."""

        def __init__(self, runtime):
            self._runtime = runtime

        def run(self, arrays):
            return {name: abs(array) for name, array in self._runtime.run(arrays).items()}

    def open_runtime(prepared, runtime, answers):
        found = opened(prepared, runtime, answers)
        return WithoutSign(found) if runtime == "onnxruntime" else found

    monkeypatch.setattr(product.Prepared, "open", open_runtime)
    monkeypatch.setattr(product.Prepared, "check", lambda prepared, _: product.Checked(prepared.model.inputs, False))
    result = measure(registry.case("ops.sin [float32]"))
    assert result.verdict is Verdict.WRONG
    assert {difference.kind for difference in result.wrong} >= {"ordinary", "large"}
    assert result.tensorflow == []
