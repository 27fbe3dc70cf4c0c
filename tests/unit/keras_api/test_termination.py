"""The step report: where it goes, and what happens when it cannot go there."""

from __future__ import annotations

from keras_api.reasons import Reason
from keras_api.step_report import StepFailure, StepReport, decode_report
from keras_api.termination import publish

REPORT = StepReport(step="prepare", revision="r", failure=StepFailure(reason=Reason.MODEL_UNSAFE, message="a Lambda"))


def test_the_report_goes_where_the_kubelet_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("TERMINATION_MESSAGE_PATH", str(tmp_path / "log"))
    publish(REPORT)
    assert decode_report((tmp_path / "log").read_bytes()) == REPORT


def test_a_path_that_cannot_be_written_is_a_warning_only(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TERMINATION_MESSAGE_PATH", str(tmp_path / "absent" / "log"))
    publish(REPORT)
    assert "the step report cannot be written" in caplog.text
