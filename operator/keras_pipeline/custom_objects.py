"""The code of a model's own classes and functions: imported from where the user has put it, and from nowhere else.

A name in the model file that neither Keras nor this code has is refused before Keras looks for it, so that a file
cannot have anything else imported.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError

# Enough to find them by; a model may be made of its own layers only.
MAX_NAMES = 10


def refuse_without_code(custom: Mapping[str, str]) -> None:
    """Refuse a model that needs code where none is given.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, naming the classes and functions and their layers.
    """
    if custom:
        what = f"the model needs classes that are not part of Keras: {_named(custom)}"
        remedy = "put it as Python files into a ConfigMap and name that in spec.source.customObjects.configMapRef"
        raise PrepareError(Reason.MODEL_UNSUPPORTED, f"{what}. Their code is not in the file: {remedy}")


def load(folder: Path, custom: Mapping[str, str]) -> dict[str, Any]:
    """Import the code, and see that it has what the model needs. Imports Keras.

    Args:
        folder: holds Python files, each a module of its name; they may import each other.
        custom: what the model needs, and the layer that needs it.

    Returns:
        The classes and functions that the files define, by name: what `load_model` takes as ``custom_objects``.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, naming the file that cannot be imported or the name that no file defines.
    """
    files = sorted(folder.glob("*.py"))
    if not files:
        raise _error("holds no Python file: each key must be the name of one, such as layers.py")
    for file in files:
        if not file.stem.isidentifier() or importlib.util.find_spec(file.stem) is not None:
            raise _error(f"has a file {file.name}, whose name is taken by Python or not one of its names: rename it")
    # Only now: what is wrong with the names of files costs no seconds.
    import keras

    sys.path.append(str(folder))
    defined: dict[str, Any] = {}
    for file in files:
        defined |= _definitions(_imported(file))
    known = {*defined, *keras.saving.get_custom_objects()}
    missing = {name: layer for name, layer in custom.items() if not {name, name.rpartition(".")[2]} & known}
    if missing:
        names = ", ".join(file.name for file in files[:MAX_NAMES])
        raise _error(f"({names}) does not define what the model needs: {_named(missing)}: add its code there")
    return defined


def _imported(file: Path) -> ModuleType:
    try:
        return importlib.import_module(file.stem)
    except Exception as error:  # whatever the user's code makes of it
        line = _line(error, file)
        raise _error(
            f"has a file that cannot be imported: {file.name}{line}: {type(error).__name__}: {error}"
        ) from error


def _line(error: BaseException, file: Path) -> str:
    """Where in a file an error came up, as far as it did there."""
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


def _named(custom: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name!r} ({f'layer {layer!r}' if layer else 'the model itself'})"
        for name, layer in sorted(custom.items())[:MAX_NAMES]
    )


def _error(what: str) -> PrepareError:
    return PrepareError(Reason.MODEL_UNSUPPORTED, f"the ConfigMap of spec.source.customObjects {what}")
