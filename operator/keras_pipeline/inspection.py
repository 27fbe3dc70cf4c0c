"""Checks a model's configuration before Keras loads it, and rejects parts that must not be loaded, with their layer."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keras_api.reasons import Reason
from keras_pipeline.errors import LOAD_WEIGHTS, SAVE_AGAIN, PrepareError, unreadable_file, unsafe_file
from keras_pipeline.model_file import ModelFile

# Losses, metrics and the optimizer may be custom objects; they are never loaded (compile=False).
TRAINING_KEYS = {"compile_config", "training_config"}

_AGAIN = ", and save the model again"
_OPERATION_OF_KERAS_2 = (
    "is a TensorFlow operation in a model of Keras 2, which Keras 3 does not load: build the model with Keras 3, with "
    f"keras.ops in place of the operation, {LOAD_WEIGHTS}"
)
_OPERATION_LAYER = Reason.MODEL_UNSUPPORTED, _OPERATION_OF_KERAS_2
REJECTED_CLASSES = {
    "Lambda": (
        Reason.MODEL_UNSAFE,
        f"is a Lambda: it contains Python code that loading would execute. Use a built-in layer or keras.ops{_AGAIN}",
    ),
    "__lambda__": (
        Reason.MODEL_UNSAFE,
        f"contains a Python lambda that loading would execute. Use a built-in function{_AGAIN}",
    ),
    "TFSMLayer": (
        Reason.MODEL_UNSAFE,
        f"is a TFSMLayer: it executes another SavedModel from a path. Rebuild the model from Keras layers{_AGAIN}",
    ),
    "TorchModuleWrapper": (
        Reason.MODEL_UNSAFE,
        f"is a TorchModuleWrapper: it contains a pickle that loading would run. Rebuild it from Keras layers{_AGAIN}",
    ),
    "JaxLayer": (
        Reason.MODEL_UNSUPPORTED,
        f"is a JaxLayer: it runs on JAX only. Rebuild it from Keras layers{_AGAIN}",
    ),
    "FlaxLayer": (
        Reason.MODEL_UNSUPPORTED,
        f"is a FlaxLayer: it runs on JAX only. Rebuild it from Keras layers{_AGAIN}",
    ),
    # Keras 2 writes an operation on a Keras tensor, such as x + 1, as a layer of one of these classes.
    "TFOpLambda": _OPERATION_LAYER,
    "SlicingOpLambda": _OPERATION_LAYER,
    "ClassMethod": _OPERATION_LAYER,
    "InstanceMethod": _OPERATION_LAYER,
    "InstanceProperty": _OPERATION_LAYER,
    "TensorFlowOpLayer": _OPERATION_LAYER,
}
# Parts of Keras that load, fetch, write or configure. The layers of a model never refer to them.
REJECTED_PARTS = (
    *("applications", "backend.config", "callbacks", "config", "datasets", "distribution", "export", "preprocessing"),
    *("saving", "testing", "trainers", "utils", "visualization", "wrappers"),
)
# Functions of this kind in other parts.
REJECTED_FUNCTIONS = {"clear_session", "load_model", "model_from_json", "save_model"}
REJECTED_MODULES = tuple(f"{root}.{part}" for root in ("keras", "keras.src") for part in REJECTED_PARTS)
# Layers in these parts: of ConvNeXt, of InceptionResNetV2, and FeatureSpace. Functions beside them download weights.
ALLOWED_IN_REJECTED = {"CustomScaleLayer", "FeatureSpace", "LayerScale", "StochasticDepth"}
ALLOWED_BUILTINS = {"function", "slice", "tuple", "set", "list", "dict", "int", "float", "str", "bool", "type"}

HALF_PRECISION = ("float16", "bfloat16")

# A configuration that declares this many times the weights in the file was changed, or the file is incomplete. Keras
# itself reports smaller differences, with the layer.
MAX_DECLARED_FACTOR = 4
DECLARED_FREE_WEIGHTS = 1_000_000
# Values in one row of an input or output: 1 GiB of float32. Several rows are run at once, and copied.
MAX_ROW_VALUES = 1 << 28


@dataclass(frozen=True)
class ModelProperties:
    """Properties of a model that are known before it is loaded.

    Attributes:
        keras_version: version that saved the model; empty if the file does not contain it.
        weight_bytes: bytes of all stored arrays.
        half_precision: whether a layer computes in float16 or bfloat16.
        quantized: whether a layer is quantised (int8, int4, float8).
        custom_objects: the layer that needs each class or function that is not part of Keras, by its name.
    """

    keras_version: str
    weight_bytes: int
    half_precision: bool
    quantized: bool
    custom_objects: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """A serialised object in the configuration, and the layer that contains it."""

    layer: str
    content: dict[str, Any]

    @property
    def class_name(self) -> str:
        """The class; `function` for a function."""
        return str(self.content["class_name"])

    @property
    def config(self) -> dict[str, Any]:
        """The arguments; empty for a function."""
        config = self.content.get("config")
        return config if isinstance(config, dict) else {}


def inspect(file: ModelFile) -> ModelProperties:
    """Check the configuration of a model file.

    Raises:
        PrepareError: MODEL_UNSAFE or MODEL_UNSUPPORTED, with the layer, the cause and the remedy.
    """
    if "class_name" not in file.config:
        raise unreadable_file(f"its configuration does not name a class; {SAVE_AGAIN}")
    custom: dict[str, str] = {}
    half_precision = quantized = False
    declared = 0
    for part in parts(file.config):
        _reject_unsafe(part)
        _reject_stateful(part)
        if name := _custom_name(part):
            custom[name] = part.layer
        if "DTypePolicy" in part.class_name:
            policy = str(part.config.get("name", ""))
            half_precision |= any(half in policy for half in HALF_PRECISION)
            quantized |= part.class_name != "DTypePolicy"
        dtype = part.config.get("dtype")
        half_precision |= isinstance(dtype, str) and any(half in dtype for half in HALF_PRECISION)
        _reject_huge_rows(part)
        declared += _least_weights(part)
    if declared > MAX_DECLARED_FACTOR * file.weights.count + DECLARED_FREE_WEIGHTS:
        raise unsafe_file(f"its layers declare at least {declared:,} weights, but it stores {file.weights.count:,}")
    return ModelProperties(file.keras_version, file.weights.size_bytes, half_precision, quantized, custom)


def parts(config: dict[str, Any]) -> Iterator[Part]:
    """All serialised objects with their layers. Not recursive, because a configuration may have any depth."""
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
                yield Part(layer, node)
            pending.extend((layer, item) for key, item in reversed(node.items()) if key not in TRAINING_KEYS)


def _reject_unsafe(part: Part) -> None:
    rejected = REJECTED_CLASSES.get(part.class_name)
    activation = part.config.get("activation")
    if isinstance(activation, dict) and activation.keys() == {"value"}:
        rejected = REJECTED_CLASSES["__lambda__"]  # Keras writes the byte code of an activation without a class
    if rejected:
        reason, text = rejected
        raise PrepareError(reason, f"layer {part.layer!r} {text}")
    if isinstance(part.config.get("vocabulary"), str):
        raise PrepareError(
            Reason.MODEL_UNSAFE,
            f"layer {part.layer!r} reads its vocabulary from {part.config['vocabulary']!r}, outside the model file: "
            "set the vocabulary as a list (layer.set_vocabulary) and save the model again",
        )
    module = part.content.get("module")
    root = module.split(".")[0] if isinstance(module, str) else "keras"
    if root == "builtins":
        unsafe = part.class_name not in ALLOWED_BUILTINS
    elif root == "keras":
        full_name = _full_name(part)  # Keras joins module and name, so that a name may contain a part of the module
        name = full_name.rpartition(".")[2]
        unsafe = name in REJECTED_FUNCTIONS or (
            full_name.startswith(REJECTED_MODULES) and name not in ALLOWED_IN_REJECTED
        )
    else:
        unsafe = root in sys.stdlib_module_names
    if unsafe:
        raise unsafe_file(
            f"layer {part.layer!r} refers to {_full_name(part)!r}, which is not part of a model",
            remedy="find out who created the file",
        )


def _reject_stateful(part: Part) -> None:
    """Reject a recurrent layer that keeps its state from one call to the next: requests would change each other."""
    if part.config.get("stateful") is True and not _custom_name(part):
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED,
            f"layer {part.layer!r} has stateful=True: its output depends on the requests before. Build the model with "
            f"stateful=False, {LOAD_WEIGHTS}",
        )


def _custom_name(part: Part) -> str | None:
    """The name of a custom class or function; None for a part of Keras."""
    module, registered = part.content.get("module"), part.content.get("registered_name")
    if ">" in part.class_name:  # the registered name, in a .h5 file
        return part.class_name
    if isinstance(registered, str) and (">" in registered or module is None):
        return registered  # an object without a module was defined in a script or notebook
    if isinstance(module, str) and module.split(".")[0] not in {"keras", "builtins"}:
        return _full_name(part)
    return None


def _full_name(part: Part) -> str:
    """Module and name of a class or function."""
    name = part.content.get("config") if part.class_name == "function" else part.class_name
    return f"{part.content.get('module')}.{name}"


def _reject_huge_rows(part: Part) -> None:
    shape = part.config.get("batch_shape") or part.config.get("batch_input_shape")
    if not isinstance(shape, list):
        return
    values = math.prod(size for size in shape[1:] if isinstance(size, int))
    if values > MAX_ROW_VALUES:
        raise unsafe_file(
            f"input {part.layer!r} takes {values:,} values per row, more than the {MAX_ROW_VALUES:,} allowed",
            remedy="use a smaller shape and save the model again",
        )


def _least_weights(part: Part) -> int:
    """The smallest number of weights of a layer with this configuration; 0 if unknown."""

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


def _last_input_dimension(part: Part) -> int:
    build = part.content.get("build_config")
    shape = build.get("input_shape") if isinstance(build, dict) else None
    last = shape[-1] if isinstance(shape, list) and shape else None
    return last if isinstance(last, int) and last > 0 else 1
