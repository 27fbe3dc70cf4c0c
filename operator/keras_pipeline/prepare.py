"""The prepare step: a fetched model file in, a verified bundle out. No network, no credentials, no cluster."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from keras_api.manifest import MANIFEST_NAME, ModelSummary, SourceRecord, decode_manifest
from keras_api.prepare_request import PrepareRequest
from keras_api.reasons import Reason
from keras_pipeline import custom_objects
from keras_pipeline.errors import PrepareError
from keras_pipeline.inspection import inspect
from keras_pipeline.model_file import read_model_file
from keras_pipeline.progress import Progress

MODEL_NAMES = ("model.keras", "model.h5")
VALIDATION_NAME = "validation.csv"


def prepare(request: PrepareRequest, work: Path, say: Progress, code: Path | None = None) -> ModelSummary:
    """Turn `work/source` into `work/bundle` (layout: keras_api.prepare_request, keras_api.manifest).

    A bundle of the same revision that is there already is only reported: same inputs, no second run.

    Args:
        request: what to prepare.
        work: the folder that the steps share.
        say: told of every step.
        code: a folder with the code of the model's own classes, where the request says that it has such.

    Raises:
        PrepareError: the model cannot be prepared, and why.
    """
    source, bundle, scratch = work / "source", work / "bundle", work / "scratch"
    if (bundle / MANIFEST_NAME).exists():
        manifest = decode_manifest((bundle / MANIFEST_NAME).read_bytes())
        if manifest.revision == request.revision:
            say(f"revision {request.revision} is prepared already")
            return manifest.model
    for folder in (bundle, scratch):  # what a killed run left
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()

    record, path = _source(source)
    say(f"reading {path.name} ({path.stat().st_size:,} bytes)")
    facts = inspect(read_model_file(path))
    if code is None:
        custom_objects.refuse_without_code(facts.custom)

    say("importing TensorFlow")
    # Only now: a file that is refused costs no seconds and no memory.
    from keras_pipeline import cases, loading, validation
    from keras_pipeline.conversion import Converter
    from keras_pipeline.manifest_writer import write_manifest
    from keras_runtimes.golden import write_golden

    own = {}
    if code is not None:
        say("importing the model's own classes")
        own = custom_objects.load(code, facts.custom)

    say("loading the model")
    model = loading.load(path, facts.keras_version, own)
    rows = None
    if request.validation:
        say("reading the validation data")
        rows = validation.read(source / VALIDATION_NAME, request.validation.label, model.inputs)

    say("asking Keras for reference answers")
    references = cases.reference_cases(model, rows)
    converted = Converter(model, facts, references, scratch, say).convert(request.runtime, bundle)

    metrics: dict[str, str] = {}
    if request.validation and rows:
        say(f"computing metrics on {len(rows.labels)} rows")
        outputs = cases.run_in_batches(converted.runtime, rows.inputs)
        metrics = validation.metrics(rows.labels, outputs, request.validation.require)

    say("writing the bundle")
    example = cases.golden_case(model, rows)
    write_golden(bundle, example.inputs, example.expected)
    summary = ModelSummary(
        digest=record.digest,
        size_bytes=record.size_bytes,
        keras_version=facts.keras_version,
        parameters=model.parameters,
        inputs=model.inputs,
        outputs=model.outputs,
        runtime=converted.name,
        parity=converted.parity,
        metrics=metrics,
        rejected_runtimes=converted.rejected_runtimes,
    )
    write_manifest(bundle, request.revision, record, summary, converted.entry, converted.input_bindings)
    shutil.rmtree(scratch)
    say(f"prepared for {converted.name}")
    return summary


def _source(folder: Path) -> tuple[SourceRecord, Path]:
    """What fetch left: the record, and the model file that it is of."""
    try:
        record = msgspec.json.decode((folder / "record.json").read_bytes(), type=SourceRecord)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        message = f"{folder / 'record.json'} cannot be read ({error}): fetch first"
        raise PrepareError(Reason.PREPARE_FAILED, message) from error
    for name in MODEL_NAMES:
        if (folder / name).is_file():
            return record, folder / name
    raise PrepareError(Reason.PREPARE_FAILED, f"{folder} holds none of {', '.join(MODEL_NAMES)}: fetch first")
