"""Imports the code of a model's custom layers and functions from the user's folder.

A model file may contain names that neither Keras nor this code defines. They are rejected before Keras looks for them,
so that a model file cannot cause any other import.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError

# Names listed in a message: a model may consist of custom layers only.
MAX_NAMES = 10
# Packages, and names under which libraries register their classes. A ConfigMap cannot carry a library.
LIBRARIES = {
    "Addons": "tensorflow-addons",
    "keras_cv": "keras-cv",
    "keras_hub": "keras-hub",
    "keras_nlp": "keras-nlp",
    "keras_rs": "keras-rs",
    "kecam": "keras-cv-attention-models",
    "tensorflow_addons": "tensorflow-addons",
    "tensorflow_hub": "tensorflow-hub",
    "tensorflow_probability": "tensorflow-probability",
    "tf_keras": "tf-keras",
    "transformers": "transformers",
}


def reject_custom_objects(required: Mapping[str, str]) -> None:
    """Reject a model that needs custom objects, because no code is given.

    Args:
        required: the layer that needs each class or function, by its name.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, with the names and their layers.
    """
    if not required:
        return
    cause = f"the model needs classes or functions that are not part of Keras: {_listed(required)}"
    remedy = _library_remedy(required) or (
        "put it into a ConfigMap as Python files, and set spec.source.customObjects.configMapRef"
    )
    raise PrepareError(Reason.MODEL_UNSUPPORTED, f"{cause}. The model file does not contain their code: {remedy}")


def load_custom_objects(folder: Path, required: Mapping[str, str]) -> dict[str, Any]:
    """Import the code, and check that it defines the required names. Imports Keras.

    Args:
        folder: contains Python files, each a module with the file's name. They may import each other.
        required: the layer that needs each class or function, by its name.

    Returns:
        The classes and functions that the files define, by name: the ``custom_objects`` of Keras's `load_model`.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, with the file that cannot be imported or the name that no file defines.
    """
    files = sorted(folder.glob("*.py"))
    if not files:
        raise _invalid_code("contains no Python file: each key must be the name of one, such as layers.py")
    for file in files:
        if not file.stem.isidentifier() or importlib.util.find_spec(file.stem) is not None:
            raise _invalid_code(f"contains {file.name}, which is not a valid or free module name: rename the file")
    # The import takes seconds, so the names of the files are checked before.
    import keras

    sys.path.append(str(folder))
    defined: dict[str, Any] = {}
    for file in files:
        defined |= _definitions(_imported(file))
    known = {*defined, *keras.saving.get_custom_objects()}
    missing = {name: layer for name, layer in required.items() if not {name, name.rpartition(".")[2]} & known}
    if missing:
        names = ", ".join(file.name for file in files[:MAX_NAMES])
        remedy = _library_remedy(missing) or "add the code"
        raise _invalid_code(f"({names}) does not define {_listed(missing)}, which the model needs: {remedy}")
    return defined


def _library_remedy(names: Iterable[str]) -> str:
    """The remedy if a library defines one of the classes or functions; empty if all may be the user's own code."""
    packages = {re.split(r"[.>]", name, maxsplit=1)[0] for name in names}
    libraries = " and ".join(sorted({LIBRARIES[package] for package in packages if package in LIBRARIES}))
    if not libraries:
        return ""
    return (
        f"rebuild the model from layers of Keras, or install {libraries} in an image that is based on the pipeline "
        f"image, and import {libraries} in a file of the ConfigMap of spec.source.customObjects"
    )


def _imported(file: Path) -> ModuleType:
    try:
        return importlib.import_module(file.stem)
    except Exception as error:  # the user's code may raise any
        cause = f"{file.name}{_line(error, file)}: {type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError):
            cause += ". Add the module, or install its library in an image that is based on the pipeline image"
        raise _invalid_code(f"contains a file that cannot be imported: {cause}") from error


def _line(error: BaseException, file: Path) -> str:
    """The line of a file in which an error was raised, if it was raised there."""
    numbers = []
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == file.name:
            numbers.append(trace.tb_lineno)
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno:
        numbers.append(error.lineno)
    return f", line {numbers[-1]}" if numbers else ""


def _definitions(module: ModuleType) -> dict[str, Any]:
    return {
        name: content
        for name, content in vars(module).items()
        if callable(content) and getattr(content, "__module__", "") == module.__name__
    }


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name!r} ({f'layer {layer!r}' if layer else 'the model itself'})"
        for name, layer in sorted(names.items())[:MAX_NAMES]
    )


def _invalid_code(cause: str) -> PrepareError:
    return PrepareError(Reason.MODEL_UNSUPPORTED, f"the ConfigMap of spec.source.customObjects {cause}")
