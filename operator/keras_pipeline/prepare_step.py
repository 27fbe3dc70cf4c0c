"""The step `prepare` of the prepare Job: from the model file in the work folder to the bundle in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from keras_api.manifest import MANIFEST_NAME, ModelSummary, SourceRecord, decode_manifest
from keras_api.prepare_request import PrepareRequest
from keras_api.reasons import Reason
from keras_api.work_folder import MODEL_SUFFIXES, WorkFolder
from keras_pipeline.errors import PrepareError
from keras_pipeline.prepare import prepare
from keras_pipeline.validation import ValidationFile


def run(
    request: PrepareRequest, work: WorkFolder, custom_objects: Path | None, progress: Callable[[str], None]
) -> ModelSummary:
    """Prepare the revision, unless the work folder contains its manifest already.

    Args:
        request: the revision to prepare.
        work: the folder that fetch filled.
        custom_objects: folder with the code of the model's custom layers and functions.
        progress: called with a line of text at the start of each stage.

    Raises:
        PrepareError: the model cannot be prepared.
    """
    manifest_file = work.bundle / MANIFEST_NAME
    if manifest_file.exists():
        manifest = decode_manifest(manifest_file.read_bytes())
        if manifest.revision == request.revision:
            progress(f"revision {request.revision} is prepared already")
            return manifest.model
    shutil.rmtree(work.bundle, ignore_errors=True)  # of another revision
    source, model_path = _fetched(work)
    validation = None
    if request.validation is not None:
        validation = ValidationFile(work.validation, request.validation.label, request.validation.require)
    return prepare(
        model_path,
        work.bundle,
        runtime=request.runtime,
        validation=validation,
        custom_objects=custom_objects,
        rows_independent=request.rows_independent,
        source=source,
        revision=request.revision,
        progress=progress,
    )


def _fetched(work: WorkFolder) -> tuple[SourceRecord, Path]:
    """The record and the model file that fetch wrote."""
    try:
        record = msgspec.json.decode(work.record.read_bytes(), type=SourceRecord)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        message = f"{work.record} cannot be read ({error}): run the step fetch first"
        raise PrepareError(Reason.PREPARE_FAILED, message) from error
    for file in map(work.model, MODEL_SUFFIXES):
        if file.is_file():
            return record, file
    raise PrepareError(Reason.PREPARE_FAILED, f"{work.source} contains no model file: run the step fetch first")
