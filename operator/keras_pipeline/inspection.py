"""Judges a model's configuration before Keras sees it: what must not be loaded is refused here, naming the layer."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError
from keras_pipeline.model_file import ModelFile

# Losses, metrics and optimizer: often of the user's own making, and never loaded here (compile=False).
TRAINING_KEYS = {"compile_config", "training_config"}

REFUSED_CLASSES = {
    "Lambda": (
        Reason.MODEL_UNSAFE,
        "is a Lambda: it holds Python code that loading would execute. Replace it by a built-in layer or by keras.ops",
    ),
    "__lambda__": (
        Reason.MODEL_UNSAFE,
        "holds a Python lambda that loading would execute. Replace it by the name of a built-in function",
    ),
    "TFSMLayer": (
        Reason.MODEL_UNSAFE,
        "is a TFSMLayer: it executes another SavedModel, from a path. Rebuild the model from Keras layers",
    ),
    "TorchModuleWrapper": (
        Reason.MODEL_UNSAFE,
        "is a TorchModuleWrapper: it holds a pickle, which loading would execute. Rebuild it from Keras layers",
    ),
    "JaxLayer": (Reason.MODEL_UNSUPPORTED, "is a JaxLayer, which runs on JAX only. Rebuild it from Keras layers"),
    "FlaxLayer": (Reason.MODEL_UNSUPPORTED, "is a FlaxLayer, which runs on JAX only. Rebuild it from Keras layers"),
}
# Parts of Keras that load, fetch, write or configure: a model's layers never name them.
REFUSED_PARTS = (
    *("applications", "backend.config", "callbacks", "config", "datasets", "distribution", "export", "saving"),
    *("testing", "trainers", "utils", "visualization", "wrappers"),
)
REFUSED_MODULES = tuple(f"{root}.{part}" for root in ("keras", "keras.src") for part in REFUSED_PARTS)
ALLOWED_IN_REFUSED = {"FeatureSpace"}  # a layer that happens to live in keras.utils
ALLOWED_BUILTINS = {"function", "slice", "tuple", "set", "list", "dict", "int", "float", "str", "bool", "type"}

HALF_PRECISION = ("float16", "bfloat16")

# A layer whose smallest possible number of weights exceeds what the file stores this many times was tampered with, or
# its file was cut; smaller differences Keras reports itself, by name.
ABSURD_FACTOR = 4
ABSURD_FLOOR = 1_000_000
# Numbers in one row of an input: a gigabyte of float32. Several rows are tried at once, and copied.
MAX_ROW_VALUES = 1 << 28


@dataclass(frozen=True)
class Facts:
    """What the configuration says of the model.

    Attributes:
        keras_version: version that saved it; empty when the file does not say.
        weight_bytes: bytes of everything stored.
        half_precision: whether some layer computes in float16 or bfloat16.
        quantized: whether some layer is quantised (int8, int4, float8).
        custom: layer by the name of each class or function that is not part of Keras.
    """

    keras_version: str
    weight_bytes: int
    half_precision: bool
    quantized: bool
    custom: Mapping[str, str]


@dataclass(frozen=True)
class _Part:
    """A serialised object in the configuration, and the layer that it belongs to."""

    layer: str
    content: dict[str, Any]

    @property
    def class_name(self) -> str:
        return str(self.content["class_name"])

    @property
    def config(self) -> dict[str, Any]:
        config = self.content.get("config")
        return config if isinstance(config, dict) else {}


def inspect(archive: ModelFile) -> Facts:
    """Judge a model file's configuration.

    Raises:
        PrepareError: MODEL_UNSAFE or MODEL_UNSUPPORTED, naming the layer, what is wrong with it and the remedy.
    """
    if "class_name" not in archive.config:
        raise PrepareError(
            Reason.MODEL_UNREADABLE,
            "the model file cannot be read: its configuration names no class; "
            "save it again with model.save('name.keras')",
        )
    custom: dict[str, str] = {}
    half_precision = quantized = False
    declared = 0
    for part in _parts(archive.config):
        _refuse_unsafe(part)
        if name := _custom_name(part):
            custom[name] = part.layer
        if "DTypePolicy" in part.class_name:
            policy = str(part.config.get("name", ""))
            half_precision |= any(half in policy for half in HALF_PRECISION)
            quantized |= part.class_name != "DTypePolicy"
        dtype = part.config.get("dtype")
        half_precision |= isinstance(dtype, str) and any(half in dtype for half in HALF_PRECISION)
        _refuse_huge_rows(part)
        declared += _least_weights(part)
    if declared > ABSURD_FACTOR * archive.weights.count + ABSURD_FLOOR:
        raise PrepareError(
            Reason.MODEL_UNSAFE,
            f"the model file was not loaded: its layers declare at least {declared:,} weights, "
            f"but it stores {archive.weights.count:,}; save it again with model.save('name.keras')",
        )
    return Facts(archive.keras_version, archive.weights.size_bytes, half_precision, quantized, custom)


def _parts(config: dict[str, Any]) -> Iterator[_Part]:
    """Every serialised object, whatever the depth (so without recursion), each with the layer around it."""
    pending: list[tuple[str, Any]] = [("", config)]
    while pending:
        layer, node = pending.pop()
        if isinstance(node, list):
            pending.extend((layer, item) for item in reversed(node))
        elif isinstance(node, dict):
            if "class_name" in node:
                inner = node.get("config")
                if isinstance(inner, dict) and isinstance(inner.get("name"), str):
                    layer = inner["name"]
                yield _Part(layer, node)
            pending.extend((layer, item) for key, item in reversed(node.items()) if key not in TRAINING_KEYS)


def _refuse_unsafe(part: _Part) -> None:
    refusal = REFUSED_CLASSES.get(part.class_name)
    activation = part.config.get("activation")
    if isinstance(activation, dict) and activation.keys() == {"value"}:
        refusal = REFUSED_CLASSES["__lambda__"]  # as an activation Keras writes its byte code without a class
    if refusal:
        reason, text = refusal
        raise PrepareError(reason, f"layer {part.layer!r} {text}, and save the model again")
    if isinstance(part.config.get("vocabulary"), str):
        raise PrepareError(
            Reason.MODEL_UNSAFE,
            f"layer {part.layer!r} reads its vocabulary from {part.config['vocabulary']!r}, outside of the model file: "
            "set the vocabulary as a list (layer.set_vocabulary) and save the model again",
        )
    module = part.content.get("module")
    root = module.split(".")[0] if isinstance(module, str) else "keras"
    if root == "builtins":
        unsafe = part.class_name not in ALLOWED_BUILTINS
    elif root == "keras":
        unsafe = str(module).startswith(REFUSED_MODULES) and part.class_name not in ALLOWED_IN_REFUSED
    else:
        unsafe = root in sys.stdlib_module_names
    if unsafe:
        raise PrepareError(
            Reason.MODEL_UNSAFE,
            f"layer {part.layer!r} names {_full_name(part)!r}, which is no part of a model: the file was not "
            "loaded. Find out who made it",
        )


def _custom_name(part: _Part) -> str | None:
    """The name of a class or function that Keras does not have; None for Keras's own."""
    module, registered = part.content.get("module"), part.content.get("registered_name")
    if isinstance(registered, str) and (">" in registered or module is None):
        return registered  # without a module: a class of a script or notebook
    if isinstance(module, str) and module.split(".")[0] not in {"keras", "builtins"}:
        return _full_name(part)
    return None


def _full_name(part: _Part) -> str:
    """Module and name of a class or function."""
    name = part.content.get("config") if part.class_name == "function" else part.class_name
    return f"{part.content.get('module')}.{name}"


def _refuse_huge_rows(part: _Part) -> None:
    shape = part.config.get("batch_shape") or part.config.get("batch_input_shape")
    if not isinstance(shape, list):
        return
    values = math.prod(size for size in shape[1:] if isinstance(size, int))
    if values > MAX_ROW_VALUES:
        raise PrepareError(
            Reason.MODEL_UNSAFE,
            f"the model file was not loaded: input {part.layer!r} takes {values:,} numbers a row, more than the "
            f"{MAX_ROW_VALUES:,} allowed; give it a smaller shape and save the model again",
        )


def _least_weights(part: _Part) -> int:
    """The smallest number of weights that a layer's configuration implies; 0 when it does not say."""

    def size(key: str) -> int:
        value = part.config.get(key)
        if isinstance(value, list):
            return math.prod(item for item in value if isinstance(item, int))
        return value if isinstance(value, int) else 0

    recurrent = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}
    if part.class_name == "Dense":
        return size("units") * _last_input_dimension(part)
    if part.class_name == "Embedding":
        return size("input_dim") * size("output_dim")
    if part.class_name.startswith("Conv"):
        return size("filters") * size("kernel_size")
    if part.class_name in recurrent:
        return recurrent[part.class_name] * size("units") ** 2
    return 0


def _last_input_dimension(part: _Part) -> int:
    build = part.content.get("build_config")
    shape = build.get("input_shape") if isinstance(build, dict) else None
    last = shape[-1] if isinstance(shape, list) and shape else None
    return last if isinstance(last, int) and last > 0 else 1
