"""Models with custom objects: the command of the Job prepares them if their code is given."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_api.manifest import decode_manifest
from keras_api.prepare_request import encode_request
from keras_api.reasons import Reason
from keras_api.step_report import StepFailure, decode_report
from keras_pipeline.errors import PrepareError

REGISTERED = """
import keras
from own_scaling import factor

@keras.saving.register_keras_serializable(package="acme")
class Scaled(keras.layers.Layer):
    def call(self, x):
        return factor() * x
"""
PLAIN = """
import keras

class Shifted(keras.layers.Layer):
    def call(self, x):
        return x + 1.0

def steep(x):
    return keras.ops.relu(x) * 3.0
"""
SCALING = "def factor(): return 2.0"
FILES = {"own_registered.py": REGISTERED, "own_plain.py": PLAIN, "own_scaling.py": SCALING}


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    """The files, as in the volume of a ConfigMap."""
    folder = tmp_path_factory.mktemp("code")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def model(code):
    """A model with custom layers and a custom activation, registered and unregistered."""
    sys.path.append(str(code))
    try:
        registered, plain = (importlib.import_module(name) for name in ("own_registered", "own_plain"))
    finally:
        sys.path.remove(str(code))
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,), name="x")
    hidden = plain.Shifted()(registered.Scaled()(inputs))
    return keras.Model(inputs, layers.Dense(3, activation=plain.steep, name="y")(hidden))


def run(prepare_model, model, folder: Path, libraries: str = "") -> tuple[StepFailure | None, Path]:
    """Prepare in a process of its own. Returns the failure, and the folder of the bundle.

    `libraries` is a folder of packages that the image of the process has besides those of the pipeline.
    """
    work = prepare_model.source(model)
    termination = work.path / "termination.log"
    subprocess.run(
        [
            *(sys.executable, "-m", "keras_pipeline", "prepare", "--request", encode_request(prepare_model.request())),
            *("--work", work.path, "--custom-objects", folder),
        ],
        env={
            **os.environ,
            "TERMINATION_MESSAGE_PATH": str(termination),
            "PYTHONPATH": os.pathsep.join(
                filter(None, [*os.environ.get("PYTHONPATH", "").split(os.pathsep), libraries])
            ),
        },
        check=False,
        timeout=120,
    )
    return decode_report(termination.read_text()).failure, work.bundle


def test_a_bundle_of_a_model_with_custom_objects_does_not_need_their_code(prepare_model, model, code):
    failure, bundle = run(prepare_model, model, code)
    assert failure is None
    manifest = decode_manifest((bundle / "manifest.json").read_bytes())
    assert manifest.model.runtime == "onnxruntime"
    with np.load(bundle / "golden.npz") as golden:
        answers = np.asarray(model(golden["input:x"]))
        np.testing.assert_allclose(golden["output:y"], answers, rtol=1e-5, atol=1e-6)
    assert not [path for path in bundle.rglob("*") if path.suffix == ".py"]


INVALID = {
    "a class that no file defines": (
        {"own_registered.py": REGISTERED, "own_scaling.py": SCALING},
        ["'own_plain.Shifted' (layer 'shifted')", "own_registered.py", "add the code"],
    ),
    "a file that fails": (
        {**FILES, "own_plain.py": f"{PLAIN}\nimport acme_tools\n"},
        [
            "own_plain.py, line 11",
            "ModuleNotFoundError: No module named 'acme_tools'",
            "install its library in an image",
        ],
    ),
    "a file with a syntax error": (
        {**FILES, "own_plain.py": "class Shifted(:"},
        ["own_plain.py, line 1", "SyntaxError"],
    ),
}


@pytest.mark.parametrize(("files", "words"), INVALID.values(), ids=INVALID)
def test_the_error_names_the_invalid_code(prepare_model, model, tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    failure, bundle = run(prepare_model, model, tmp_path)
    assert failure is not None
    assert failure.reason == Reason.MODEL_UNSUPPORTED
    assert [word for word in words if word not in failure.message] == [], failure.message
    assert not (bundle / "manifest.json").exists()


LIBRARY = """
import keras

@keras.saving.register_keras_serializable(package="keras_hub")
class Tripled(keras.layers.Layer):
    def call(self, x):
        return 3.0 * x
"""


def test_a_library_in_the_image_is_imported_by_a_file_of_the_config_map(prepare_model, tmp_path, monkeypatch):
    """The remedy for a model of keras-hub, with a package of that name."""
    (tmp_path / "libraries/keras_hub").mkdir(parents=True)
    (tmp_path / "libraries/keras_hub/__init__.py").write_text(LIBRARY)
    (tmp_path / "code").mkdir()
    (tmp_path / "code/libraries.py").write_text("import keras_hub")
    monkeypatch.syspath_prepend(tmp_path / "libraries")
    tripled = importlib.import_module("keras_hub").Tripled
    model = keras.Sequential([keras.Input((4,), name="x"), tripled(name="thrice")])
    with pytest.raises(PrepareError, match=r"'keras_hub>Tripled' .* install keras-hub in an image"):
        prepare_model(model)
    failure, bundle = run(prepare_model, model, tmp_path / "code", libraries=str(tmp_path / "libraries"))
    assert failure is None
    assert (bundle / "manifest.json").exists()
