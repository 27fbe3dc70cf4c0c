"""Runs the prepare step in the test's process, so that TensorFlow is imported once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from keras_api.manifest import GOLDEN_NAME, MANIFEST_NAME, Manifest, ModelSummary, SourceRecord, decode_manifest
from keras_api.prepare_request import PrepareRequest
from keras_api.resource import Validation
from keras_api.work_folder import WorkFolder
from keras_pipeline import environment, prepare_step
from keras_pipeline.progress import Progress

environment.configure()  # before any test module imports Keras

REVISION = "0123456789"

# Warnings within Keras, TensorFlow and tf2onnx.
LIBRARY_WARNINGS = [
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    "ignore:The object being serialized includes a `lambda`:UserWarning",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore warnings within the libraries, in this folder only."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for warning in LIBRARY_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@dataclass(frozen=True)
class Prepared:
    """A bundle, as a server reads it."""

    folder: Path
    manifest: Manifest

    @property
    def inputs(self) -> list[tuple[str, str, list[int]]]:
        return [(tensor.name, tensor.dtype, tensor.shape) for tensor in self.manifest.model.inputs]

    @property
    def output_names(self) -> list[str]:
        return [tensor.name for tensor in self.manifest.model.outputs]

    def golden(self, kind: str) -> dict[str, np.ndarray]:
        """The golden arrays of a kind, `input` or `output`, by name. Opened as in a server, without pickles."""
        with np.load(self.folder / GOLDEN_NAME, allow_pickle=False) as arrays:
            return {key.removeprefix(f"{kind}:"): arrays[key] for key in arrays if key.startswith(f"{kind}:")}


class Preparer:
    """Acts for the steps before and after prepare: writes the source, runs the step, reads the bundle."""

    def __init__(self, new_folder: Callable[[], Path]) -> None:
        self._new_folder = new_folder

    def __call__(self, model: Any, suffix: str = ".keras", csv: str | None = None, **request: Any) -> Prepared:
        """Prepare a Keras model, or a file's content, in a new folder. `request` overrides fields of the request."""
        work = self.source(model, suffix, csv)
        if csv is not None:
            request = {"validation": Validation(data="s3://models/rows.csv"), **request}
        self.run(work, **request)
        return Prepared(work.bundle, decode_manifest((work.bundle / MANIFEST_NAME).read_bytes()))

    def run(self, work: WorkFolder, **request: Any) -> ModelSummary:
        """Run the step in a work folder."""
        return prepare_step.run(self.request(**request), work, None, Progress())

    def source(self, model: Any, suffix: str = ".keras", csv: str | None = None) -> WorkFolder:
        """A new work folder with a source."""
        work = WorkFolder(self._new_folder())
        file = work.model(suffix)
        file.parent.mkdir()
        if isinstance(model, bytes):
            file.write_bytes(model)
        else:
            model.save(file)
        data = file.read_bytes()
        record = SourceRecord(
            uri=f"s3://models/model{suffix}",
            fingerprint="etag",
            digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
            size_bytes=len(data),
        )
        work.record.write_bytes(msgspec.json.encode(record))
        if csv is not None:
            work.validation.write_text(csv)
        return work

    def request(self, **fields: Any) -> PrepareRequest:
        """The request, as the operator makes it."""
        return PrepareRequest(
            **{
                "namespace": "default",
                "model": "m",
                "revision": REVISION,
                "fingerprint": "etag",
                "uri": "s3://models/model.keras",
                **fields,
            }
        )


@pytest.fixture(scope="session")
def prepare_model(tmp_path_factory: pytest.TempPathFactory) -> Preparer:
    """`prepare_model(model, suffix=..., csv=..., **request)` prepares a model; see Preparer."""
    return Preparer(lambda: tmp_path_factory.mktemp("work"))
