"""Prepares a model: turns a Keras file into a verified bundle. Needs no network, no credentials and no cluster."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_api.manifest import ModelSummary, SourceRecord
from keras_api.revision import REVISION_LENGTH
from keras_pipeline.custom_objects import load_custom_objects, reject_custom_objects
from keras_pipeline.inspection import inspect
from keras_pipeline.model_file import read_model_file
from keras_pipeline.validation import ValidationFile, compute_metrics, read_validation_set


def prepare(
    model_path: Path,
    output: Path,
    *,
    runtime: str = "auto",
    validation: ValidationFile | None = None,
    custom_objects: Path | None = None,
    rows_independent: bool = True,
    source: SourceRecord | None = None,
    revision: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> ModelSummary:
    """Make a bundle from a model file.

    The bundle is complete or absent: it is made in a folder beside the output and moved at the end. Call
    `keras_pipeline.environment.configure` before, to limit TensorFlow's threads to the CPUs of the container.

    Args:
        model_path: the Keras file (.keras, or legacy .h5).
        output: folder of the bundle (`keras_api.manifest`). It must not exist, or must be empty.
        runtime: name of a runtime, or auto: the fastest whose outputs agree with those of Keras.
        validation: rows that the model must pass; they also replace the synthetic inputs of the comparison with Keras.
        custom_objects: folder with the code of the model's custom layers and functions.
        rows_independent: whether the answer for a row must not depend on the other rows of a request.
        source: origin of the file, for the manifest. Default: the file itself.
        revision: name of the revision, for the manifest. Default: the first digits of the file's digest.
        progress: called with a line of text at the start of each stage.

    Raises:
        PrepareError: the model cannot be prepared.
        FileExistsError: the output is not empty.
    """
    if output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty")
    source = source or _local_source(model_path)
    progress(f"reading {model_path.name} ({source.size_bytes:,} bytes)")
    file = read_model_file(model_path)
    properties = inspect(file)
    if custom_objects is None:
        reject_custom_objects(properties.custom_objects)

    # The import takes seconds and much memory: a file that is rejected before costs neither.
    progress("importing TensorFlow")
    from keras_pipeline.conversion import Converter
    from keras_pipeline.loading import load_model
    from keras_pipeline.manifest_writer import write_manifest
    from keras_pipeline.reference_cases import references, run_in_batches
    from keras_pipeline.serving_check import check_serving
    from keras_runtimes.golden import write_golden
    from keras_runtimes.tolerance import tolerance_of

    definitions = {}
    if custom_objects is not None:
        progress("importing the custom objects")
        definitions = load_custom_objects(custom_objects, properties.custom_objects)
    progress("loading the model")
    model = load_model(model_path, file, properties, definitions)
    rows = None
    if validation is not None:
        progress("reading the validation data")
        rows = read_validation_set(validation, model.inputs)

    with _partial_folder(output) as (bundle, scratch):
        progress("computing reference outputs with Keras")
        tolerance = tolerance_of(half_precision=properties.half_precision)
        reference = references(model, rows, tolerance, rows_independent=rows_independent)
        converted = Converter(model, properties, reference, tolerance, scratch, progress).convert(runtime, bundle)

        metrics: dict[str, str] = {}
        if validation is not None and rows is not None:
            progress(f"computing metrics on {len(rows.labels)} rows")
            outputs = run_in_batches(converted.runtime, rows.inputs, rows_independent=rows_independent)
            metrics = compute_metrics(rows.labels, outputs, validation.require)

        progress("writing the bundle")
        write_golden(bundle, reference.golden.inputs, reference.golden.expected or {})
        summary = ModelSummary(
            digest=source.digest,
            size_bytes=source.size_bytes,
            keras_version=properties.keras_version,
            parameters=model.parameters,
            inputs=reference.inputs,
            outputs=reference.outputs,
            runtime=converted.name,
            parity=converted.parity,
            half_precision=properties.half_precision,
            rows_independent=rows_independent,
            warnings=[*reference.warnings, *converted.warnings],
            metrics=metrics,
            rejected_runtimes=converted.rejected_runtimes,
        )
        revision = revision or source.digest.removeprefix("sha256:")[:REVISION_LENGTH]
        write_manifest(bundle, revision, source, summary, converted.entry, converted.input_bindings)
        progress("checking the bundle as a server does")
        check_serving(bundle)
        bundle.rename(output)
    progress(f"prepared for {converted.name}")
    return summary


def _local_source(path: Path) -> SourceRecord:
    """The record of a file that was not fetched from elsewhere."""
    with path.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    uri = path.resolve().as_uri()
    return SourceRecord(uri=uri, fingerprint=digest, digest=digest, size_bytes=path.stat().st_size)


@contextmanager
def _partial_folder(output: Path) -> Iterator[tuple[Path, Path]]:
    """Empty folders for the bundle and for temporary files, on the file system of the output; deleted at the end."""
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    folders = partial / "bundle", partial / "scratch"
    for folder in folders:
        folder.mkdir(parents=True)
    try:
        yield folders
    finally:
        shutil.rmtree(partial)
