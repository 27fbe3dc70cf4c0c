"""Prepares models for real, in this process: TensorFlow is imported once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from keras_api.manifest import GOLDEN_NAME, Manifest, SourceRecord, decode_manifest
from keras_api.prepare_request import PrepareRequest
from keras_api.resource import Validation
from keras_pipeline import environment
from keras_pipeline.prepare import prepare
from keras_pipeline.progress import Progress

environment.configure()  # before any test module imports Keras

REVISION = "0123456789"

# What Keras, TensorFlow and tf2onnx do on their own, and nobody here can mend.
FOREIGN_WARNINGS = [
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    "ignore:The object being serialized includes a `lambda`:UserWarning",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Forgive the libraries their warnings, in this folder only."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for warning in FOREIGN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@dataclass(frozen=True)
class Prepared:
    """A bundle as a server finds it."""

    folder: Path
    manifest: Manifest

    @property
    def inputs(self) -> list[tuple[str, str, list[int]]]:
        return [(tensor.name, tensor.dtype, tensor.shape) for tensor in self.manifest.model.inputs]

    @property
    def output_names(self) -> list[str]:
        return [tensor.name for tensor in self.manifest.model.outputs]

    def golden(self, kind: str) -> dict[str, np.ndarray]:
        """The golden arrays of a kind, `input` or `output`, by name; opened as a server does, without pickles."""
        with np.load(self.folder / GOLDEN_NAME, allow_pickle=False) as arrays:
            return {key.removeprefix(f"{kind}:"): arrays[key] for key in arrays if key.startswith(f"{kind}:")}


class Preparer:
    """Plays the steps before and after: lays out what fetch leaves, runs prepare, reads the bundle."""

    def __init__(self, new_folder: Callable[[], Path]) -> None:
        self._new_folder = new_folder

    def __call__(self, model: Any, suffix: str = ".keras", csv: str | None = None, **request: Any) -> Prepared:
        """Prepare a Keras model or a file's bytes in a new folder; `request` overrides fields of the request."""
        work = self.source(model, suffix, csv)
        if csv is not None:
            request = {"validation": Validation(data="s3://models/rows.csv"), **request}
        prepare(self.request(**request), work, Progress())
        return Prepared(work / "bundle", decode_manifest((work / "bundle/manifest.json").read_bytes()))

    def source(self, model: Any, suffix: str = ".keras", csv: str | None = None) -> Path:
        """A new work folder with a source."""
        work = self._new_folder()
        file = work / "source" / f"model{suffix}"
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
        (work / "source/record.json").write_bytes(msgspec.json.encode(record))
        if csv is not None:
            (work / "source/validation.csv").write_text(csv)
        return work

    def request(self, **fields: Any) -> PrepareRequest:
        """The operator's request."""
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
