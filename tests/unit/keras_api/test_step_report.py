"""The step report: it has at most 4096 bytes for any outcome, and an invalid report is rejected."""

import msgspec
import pytest
from msgspec.structs import replace

from keras_api.manifest import ModelSummary, Parity, RejectedRuntime, Tensor
from keras_api.reasons import Reason
from keras_api.step_report import MAX_BYTES, ReportError, StepFailure, StepReport, decode_report, encode_report

MODEL = ModelSummary(
    digest="sha256:" + "a" * 64,
    size_bytes=7,
    keras_version="3.15.1",
    parameters=3,
    inputs=[Tensor(name="image", dtype="float32", shape=[-1, 8, 8, 1])],
    outputs=[Tensor(name="digit", dtype="float32", shape=[-1, 10])],
    runtime="onnxruntime",
    parity=Parity(max_abs_error="1e-7", agreement="1", rows=32),
    metrics={"accuracy": "0.98"},
)


def failed(message: str) -> StepReport:
    return StepReport(
        step="fetch", revision="0123456789", failure=StepFailure(reason=Reason.DIGEST_MISMATCH, message=message)
    )


def prepared(model: ModelSummary) -> StepReport:
    return StepReport(step="prepare", revision="0123456789", model=model)


FETCHED = StepReport(step="fetch", revision="0123456789", fetched_bytes=7)


@pytest.mark.parametrize("report", [failed("no such file"), prepared(MODEL), FETCHED])
def test_a_report_is_read_as_written(report: StepReport):
    assert decode_report(encode_report(report)) == report


@pytest.mark.parametrize(
    "text",
    ["x" * 100_000, "漢字" * 5_000, "\x01" * 10_000, '"\\' * 10_000, "🙂" * 5_000, "\n" * 9_000, "x" * 4_000],
    ids=["long", "kanji", "control", "quotes", "emoji", "newlines", "just over"],
)
def test_a_long_message_is_cut_and_keeps_its_beginning(text: str):
    data = encode_report(failed(f"the culprit {text}"))
    failure = decode_report(data).failure
    assert len(data) <= MAX_BYTES
    assert failure is not None
    assert failure.message.startswith("the culprit ")
    assert "cut" in failure.message


def test_a_message_with_invalid_characters_is_reported():
    failure = decode_report(encode_report(failed("file \udcff.keras"))).failure
    assert failure is not None
    assert failure.message == "file ?.keras"


@pytest.mark.parametrize(
    "model",
    [
        replace(MODEL, inputs=[Tensor(name=f"input_{i}", dtype="float32", shape=[-1, 1]) for i in range(500)]),
        replace(MODEL, outputs=[Tensor(name="漢" * 60 + str(i), dtype="float32", shape=[-1]) for i in range(100)]),
        replace(MODEL, inputs=[Tensor(name="\x01" * 5_000, dtype="float32", shape=[-1])]),
        replace(MODEL, inputs=[Tensor(name="x", dtype="float32", shape=[-1] * 4_000)]),
        replace(MODEL, rejected_runtimes=[RejectedRuntime(runtime="onnxruntime", reason="no " * 5_000)]),
        replace(MODEL, warnings=["differs " * 500] * 20),
        replace(MODEL, keras_version="3" * 5_000),
    ],
    ids=["inputs", "kanji outputs", "long name", "many dimensions", "long reason", "long warnings", "long version"],
)
def test_a_model_with_a_long_summary_is_reported(model: ModelSummary):
    data = encode_report(prepared(model))
    kept = decode_report(data).model
    assert len(data) <= MAX_BYTES
    assert kept is not None
    assert (kept.digest, kept.runtime, kept.parity) == (MODEL.digest, MODEL.runtime, MODEL.parity)


def test_the_result_of_another_task_is_read_as_written():
    report = StepReport(step="inspect", revision="r", result={"lines": 7})
    assert decode_report(encode_report(report)) == report


def test_sixteen_inputs_are_reported_in_full():
    inputs = [Tensor(name=f"input_{i}", dtype="float32", shape=[-1, 1]) for i in range(16)]
    assert decode_report(encode_report(prepared(replace(MODEL, inputs=inputs)))).model == replace(MODEL, inputs=inputs)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        ("", "not a step report"),
        ("Killed", "not a step report"),
        ('{"version":2,"step":"put","revision":"r","failure":{"reason":"Forbidden","message":""}}', "version"),
        ('{"version":1,"step":"put","revision":"r","failure":{"reason":"Nonsense","message":""}}', "Nonsense"),
        ('{"version":1,"step":"put","revision":"r","failure":{"reason":"Forbidden","message":""},"x":1}', "`x`"),
        ('{"version":1,"step":"put","revision":"r"}', "exactly one of fetchedBytes, model, result and failure"),
    ],
)
def test_an_invalid_report_is_rejected(data: str, cause: str):
    with pytest.raises(ReportError, match=cause):
        decode_report(data)


def test_a_report_cannot_have_two_outcomes():
    with pytest.raises(ValueError, match="exactly one"):
        StepReport(step="put", revision="r", model=MODEL, failure=StepFailure(reason=Reason.FORBIDDEN, message=""))


def test_a_report_is_one_line_of_json():
    assert b"\n" not in encode_report(failed("two\nlines"))
    assert msgspec.json.decode(encode_report(failed("x")))["version"] == 1
