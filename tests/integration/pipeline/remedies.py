"""What the tests of remedies share: a case, and helpers that make files."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError

OLDER = Path(__file__).parent / "older_keras"


class Case:
    """A wrong file, and the file after the remedy. `words` of the message name the culprit and the remedy.

    A method of a case returns a Keras model, or the path of a file.
    """

    reason = Reason.MODEL_UNSUPPORTED
    words: tuple[str, ...] = ()
    runtime = "auto"
    """The runtime that the request for the wrong file names."""
    answers = ""
    """Name of the answers of Keras 2 that the result must give."""

    def wrong(self, folder: Path):
        raise NotImplementedError

    def remedy(self, folder: Path, wrong: Path):
        raise NotImplementedError

    def ask(self, model, x):
        return model(x, training=False)


def dense(name="y", units=2, **options):
    return keras.Sequential([keras.Input((4,), name="x"), layers.Dense(units, name=name, **options)])


def older(name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(gzip.decompress((OLDER / f"{name}.gz").read_bytes()))
    return path


def saved(model, path: Path) -> Path:
    model.save(path)
    return path


def edited(path: Path, edit=lambda config: None, weights=None, version=None) -> Path:
    """The archive with another configuration, other weights or another version."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config, metadata = json.loads(members["config.json"]), json.loads(members["metadata.json"])
    edit(config)
    metadata["keras_version"] = version or metadata["keras_version"]
    members |= {"config.json": json.dumps(config).encode(), "metadata.json": json.dumps(metadata).encode()}
    if weights:
        buffer = io.BytesIO(members["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            weights(file)
        members["model.weights.h5"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def cases(namespace: dict[str, Any]) -> list[type[Case]]:
    """The cases that a test module defines."""
    return [
        value
        for value in namespace.values()
        if isinstance(value, type) and issubclass(value, Case) and value.__module__ == namespace["__name__"]
    ]


def check(case: Case, prepare_model, tmp_path: Path) -> None:
    """See that the wrong file is rejected with cause and remedy, and that the file after the remedy is prepared."""
    keras.utils.set_random_seed(1)
    wrong = case.wrong(tmp_path)
    if not isinstance(wrong, Path):
        wrong = saved(wrong, tmp_path / "wrong.keras")
    with pytest.raises(PrepareError) as rejection:
        prepare_model(wrong.read_bytes(), wrong.suffix, runtime=case.runtime)
    assert rejection.value.reason == case.reason, rejection.value.message
    assert [word for word in case.words if word not in rejection.value.message] == [], rejection.value.message
    right = case.remedy(tmp_path, wrong)
    if not isinstance(right, Path):
        if case.answers:
            with np.load(OLDER / f"{case.answers}.npz") as arrays:
                np.testing.assert_allclose(case.ask(right, arrays["x0"]), arrays["y0"], rtol=1e-5, atol=1e-6)
        right = saved(right, tmp_path / "right.keras")
    runtime = "tensorflow" if case.runtime == "auto" else "auto"  # TensorFlow takes the least time
    prepare_model(right.read_bytes(), right.suffix, runtime=runtime)
