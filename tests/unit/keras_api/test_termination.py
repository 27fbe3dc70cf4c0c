"""The termination message: the file of the step report, and the warning if it cannot be written."""

from __future__ import annotations

from keras_api.reasons import Reason
from keras_api.step_report import StepFailure, StepReport, decode_report
from keras_api.termination import publish

REPORT = StepReport(step="prepare", revision="r", failure=StepFailure(reason=Reason.MODEL_UNSAFE, message="a Lambda"))


def test_the_report_is_written_to_the_file_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv("TERMINATION_MESSAGE_PATH", str(tmp_path / "log"))
    publish(REPORT)
    assert decode_report((tmp_path / "log").read_bytes()) == REPORT


def test_an_unwritable_file_causes_only_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TERMINATION_MESSAGE_PATH", str(tmp_path / "absent" / "log"))
    publish(REPORT)
    assert "warning: the step report cannot be written" in capsys.readouterr().err
