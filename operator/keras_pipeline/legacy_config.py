"""Rewrites the configuration of a legacy file, so that Keras 3 loads it. It works on decoded JSON, without Keras.

Keras 3 reads the weights of Keras 2 correctly, but it rejects arguments, modules and names that Keras 2 wrote into the
configuration. Most of them have no effect on inference. A setting that has one is translated, or rejected by name:
nothing is dropped in silence. Measured with all layers of Keras 2 (tests/integration/pipeline/older_keras).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from keras_api.reasons import Reason
from keras_pipeline.errors import LOAD_WEIGHTS, PrepareError

FIRST_SUPPORTED_MAJOR = 3

# Keras 2 computes clip(0.2 x + 0.5), Keras 3 computes clip(x / 6 + 0.5) under the same name. The loader defines this
# name with the formula of Keras 2.
HARD_SIGMOID = "keras_2_hard_sigmoid"
ACTIVATION_KEYS = ("activation", "recurrent_activation")

# Layers that are part of Keras, but not of keras.layers.
UNEXPORTED = {
    "LayerScale": "keras.src.applications.convnext",
    "StochasticDepth": "keras.src.applications.convnext",
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
    "RandomHeight": "keras.src.legacy.layers",
    "RandomWidth": "keras.src.legacy.layers",
    "ThresholdedReLU": "keras.src.legacy.layers",
}

RECURRENT = ("RNN", "SimpleRNN", "GRU", "LSTM", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
RANDOM = ("Brightness", "Contrast", "Crop", "Flip", "Height", "Rotation", "Translation", "Width", "Zoom")
SPATIAL_DROPOUTS = ("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")

# Arguments without effect whatever their value: shapes that follow from the inputs, and settings of training.
IGNORED: dict[str, tuple[str, ...]] = {
    "Discretization": ("trainable",),
    "MultiHeadAttention": ("query_shape", "key_shape", "value_shape"),
    # A separable convolution has depthwise and pointwise kernels. Keras 2 also writes the arguments of its base class.
    **dict.fromkeys(SEPARABLE, ("kernel_initializer", "kernel_regularizer", "kernel_constraint")),
    **dict.fromkeys(SPATIAL_DROPOUTS, ("trainable", "noise_shape")),
    **{f"Random{kind}": ("rng_type",) for kind in RANDOM},
}
# Layers whose build method has other arguments than in Keras 2. The first call builds them.
REBUILT = (*RECURRENT, "Bidirectional", "MultiHeadAttention")
# Arguments whose default Keras 3 implements without the argument. Other values stay, and Keras rejects them.
DEFAULTS: dict[str, dict[str, Any]] = {
    **{name: {"time_major": False} for name in RECURRENT},
    **{name: {"groups": 1} for name in (*TRANSPOSED, *DEPTHWISE, *SEPARABLE)},
    "MultiHeadAttention": {"softmax_robust_masking": False},
}
MODELS = ("Functional", "Model")
NESTED = (*MODELS, "Sequential")
# Arguments that hold layers.
LAYER_KEYS = ("layers", "layer", "forward_layer", "backward_layer", "cell", "cells")


def modernize(config: dict[str, Any], keras_version: str, file_format: Literal["keras", "h5"]) -> bool:
    """Rewrite a configuration to the form that Keras 3 reads, if it is a legacy one. Returns whether it is.

    Args:
        config: the decoded configuration. It is changed in place: a copy of the largest allowed one needs a gigabyte.
        keras_version: version that saved the file; empty if unknown, as in old `.h5` files.
        file_format: of the file. Keras reads the configuration of a `.h5` file by other rules.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, with the layer and the setting that Keras 3 does not have.
    """
    old = _major(keras_version) < FIRST_SUPPORTED_MAJOR if keras_version else file_format == "h5"
    if old:
        for part in _parts(config):
            _modernize_graph(part)
        _add_input_layers(config)
        for part in _parts(config):
            _modernize(part)
        _rename_layers(config)
    if file_format == "h5":
        _add_modules(config)
    return old or file_format == "h5"


def _major(version: str) -> int:
    digits = version.split(".")[0]
    return int(digits) if digits.isdigit() else 0


def _nodes(root: Any) -> Iterator[Any]:
    """All objects and lists. Not recursive, because a configuration may have any depth."""
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, dict):
            pending.extend(value for value in node.values() if isinstance(value, dict | list))
        else:
            pending.extend(value for value in node if isinstance(value, dict | list))


def _parts(root: Any) -> Iterator[dict[str, Any]]:
    """All serialised objects that have a class of Keras, and arguments."""
    for node in _nodes(root):
        if isinstance(node, dict) and isinstance(node.get("class_name"), str) and isinstance(node.get("config"), dict):
            module = node.get("module")
            if ">" not in node["class_name"] and (
                module is None or str(module).partition(".")[0] in {"keras", "tf_keras"}
            ):
                yield node


def _add_input_layers(root: Any) -> None:
    """Write each Sequential model with a name and with its input layer, as later versions of Keras 2 did."""
    for node in _nodes(root):
        if not isinstance(node, dict) or node.get("class_name") != "Sequential":
            continue
        if isinstance(node.get("config"), list):
            node["config"] = {"name": "sequential", "layers": node["config"]}
        first, arguments = _first_layer(node)
        if first["class_name"] != "InputLayer" and "batch_input_shape" in arguments:
            inputs: dict[str, Any] = {
                "batch_shape": arguments["batch_input_shape"],
                "dtype": arguments.get("dtype", "float32"),
            }
            if first["class_name"] == "Embedding":
                inputs["dtype"] = "float32"  # the type of the ids is not that of the vectors; Keras casts them
            inputs["name"] = f"{arguments.get('name', 'layer')}_input"
            input_layer: dict[str, Any] = {"class_name": "InputLayer", "config": inputs}
            if "module" in first:
                input_layer |= {"module": "keras.layers", "registered_name": None}
            node["config"]["layers"].insert(0, input_layer)


def _first_layer(model: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first layer of a model, and its arguments; without a class if there is none."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    first = layers[0] if isinstance(layers, list) and layers else None
    if isinstance(first, dict) and "class_name" in first and isinstance(first.get("config"), dict):
        return first, first["config"]
    return {"class_name": ""}, {}


def _modernize_graph(part: dict[str, Any]) -> None:
    """Rewrite the calls of the layers of a functional model.

    - Keras 2 counts the call with which a nested model was built as its call 0. Keras 3 does not.
    - A tensor in a keyword argument is a list in Keras 2, and an object in Keras 3.
    - The initial states of a recurrent layer are inputs in Keras 2, and a keyword argument in Keras 3.
    """
    layers = part["config"].get("layers")
    if part["class_name"] not in MODELS or not isinstance(layers, list):
        return
    layers = [layer for layer in layers if isinstance(layer, dict) and isinstance(layer.get("inbound_nodes"), list)]
    classes = {str(layer.get("name")): str(layer.get("class_name")) for layer in layers}
    built = set()
    for layer in layers:
        first, arguments = _first_layer(layer)
        if layer.get("class_name") in NESTED and (
            first["class_name"] == "InputLayer" or "batch_input_shape" in arguments
        ):
            built.add(str(layer.get("name")))
    for layer in layers:
        for node in _nodes(layer["inbound_nodes"]):
            if isinstance(node, list) and _is_reference(node) and node[0] in built and node[1] > 0:
                node[1] -= 1
        layer["inbound_nodes"] = [_modern_call(call, layer, classes) for call in layer["inbound_nodes"]]
    for key in ("input_layers", "output_layers"):
        tensors = part["config"].get(key)
        if isinstance(tensors, list) and len(tensors) == 1 and isinstance(tensors[0], list):
            part["config"][key] = tensors[0]  # a list of one tensor means the tensor in Keras 2
    # For a nested functional model, Keras 3 counts like Keras 2 here, and only here.
    for node in _nodes([part["config"].get("output_layers")]):
        if isinstance(node, list) and _is_reference(node) and node[0] in built and classes[node[0]] == "Sequential":
            node[1] = max(0, node[1] - 1)


def _modern_call(call: Any, layer: dict[str, Any], classes: dict[str, str]) -> Any:
    """A call of a layer in the form of Keras 3, if Keras 3 does not read the form of Keras 2."""
    if not isinstance(call, list) or not all(isinstance(item, list) and _is_reference(item) for item in call):
        return call
    keywords = call[-1][3] if call and len(call[-1]) > 3 and isinstance(call[-1][3], dict) else {}
    if keywords.get("constants", ...) is None:
        del keywords["constants"]
    inputs = [_tensor(item) for item in call]
    states = inputs[1:] if layer.get("class_name") in (*RECURRENT, "Bidirectional") else []
    if not states and not any(isinstance(node, list) and _is_tensor(node, classes) for node in _nodes(keywords)):
        return call
    keywords = {key: _with_tensors(value, classes) for key, value in keywords.items()}
    if states:
        inputs, keywords["initial_state"] = inputs[:1], states
    return {"args": inputs if len(inputs) == 1 else [inputs], "kwargs": keywords}


def _with_tensors(value: Any, classes: dict[str, str]) -> Any:
    """A keyword argument with its tensors as objects: a tensor, a list of tensors, or another value."""
    if not isinstance(value, list):
        return value
    if _is_tensor(value, classes):
        return _tensor(value)
    return [_tensor(item) if isinstance(item, list) and _is_tensor(item, classes) else item for item in value]


def _is_tensor(node: list[Any], classes: dict[str, str]) -> bool:
    return _is_reference(node) and len(node) == 3 and node[0] in classes


def _tensor(reference: list[Any]) -> dict[str, Any]:
    """A reference as Keras 3 writes it. Keras replaces the tensor by the one that the layer produces."""
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None], "dtype": "float32", "keras_history": reference[:3]},
    }


def _modernize(part: dict[str, Any]) -> None:
    name, config = part["class_name"], part["config"]
    if isinstance(module := part.get("module"), str):
        if name in MODELS and module != "keras":
            part |= {"module": "keras", "class_name": "Model", "registered_name": None}
        elif name in UNEXPORTED:
            part["module"] = UNEXPORTED[name]
        elif module.startswith("tf_keras."):
            part["module"] = module.removeprefix("tf_")
    if part.get("registered_name", "") is None:
        del part["registered_name"]  # so that Keras looks for the class in the custom objects, as in a `.h5` file
    if name != "InputLayer":
        config.pop("batch_input_shape", None)  # the input layer of the model has it too
    if name in REBUILT:
        part.pop("build_config", None)
    if name == "RandomCrop":
        # Without training, Keras 2 resizes to the size of the crop, and Keras 3 does nothing.
        part["class_name"] = "Resizing"
        config.pop("seed", None)
        config["crop_to_aspect_ratio"] = True
    _modernize_arguments(name, config)


def _modernize_arguments(name: str, config: dict[str, Any]) -> None:
    """Rewrite the arguments of a layer, by the class that it has in Keras 2."""
    if name in RECURRENT and config.get("time_major"):
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED,
            f"layer {config.get('name')!r} has time_major=True, which Keras 3 does not have: build the model with "
            f"Keras 3 for inputs of the shape (batch, steps, features), {LOAD_WEIGHTS}",
        )
    for key in IGNORED.get(name, ()):
        config.pop(key, None)
    for key, default in DEFAULTS.get(name, {}).items():
        if config.get(key) == default:
            config.pop(key, None)
    if name == "LeakyReLU" and "alpha" in config:
        config["negative_slope"] = config.pop("alpha")
    if name == "GRU":
        config.setdefault("reset_after", False)  # the default of the versions that do not write it
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]
    dtype = config.get("dtype")
    if isinstance(dtype, dict) and dtype.get("class_name") == "Policy" and isinstance(dtype.get("config"), dict):
        config["dtype"] = dtype["config"].get("name")
    for key in ACTIVATION_KEYS:
        if config.get(key) == "hard_sigmoid":
            # As Keras 3 writes a function that is not its own.
            config[key] = {"module": "builtins", "class_name": "function", "config": HARD_SIGMOID}
            config[key]["registered_name"] = HARD_SIGMOID
    for key, value in config.items():
        if key.endswith("_initializer") and isinstance(value, dict) and isinstance(value.get("config"), dict):
            value["config"].pop("dtype", None)


def _rename_layers(root: Any) -> None:
    """Replace names of layers that Keras 3 rejects, everywhere a layer is named.

    Keras 3 rejects slashes. It also adds operations for masks to the graph, and those named concatenate would have the
    name of a layer. Outputs keep this name, because it is part of the model's interface.
    """
    names = {name for node in _parts(root) if isinstance(name := node["config"].get("name"), str)}
    outputs = {
        node[0]
        for part in _parts(root)
        for node in _nodes([part["config"].get("output_layers")])
        if isinstance(node, list) and _is_reference(node)
    }
    ambiguous = {name for name in names if re.fullmatch(r"concatenate(_\d+)?", name)} - outputs
    new_names: dict[str, str] = {}
    taken: Counter[str] = Counter()  # each candidate is tried once, however many names become the same
    for name in sorted(name for name in names if "/" in name or name in ambiguous):
        new = base = name.replace("/", "_") + ("_layer" if name in ambiguous else "")
        while new in names:
            taken[base] += 1
            new = f"{base}_{taken[base]}"
        names.add(new)
        new_names[name] = new
    if not new_names:
        return
    for node in _nodes(root):
        if isinstance(node, dict):
            if isinstance(node.get("name"), str):
                node["name"] = new_names.get(node["name"], node["name"])
        elif _is_reference(node):
            node[0] = new_names.get(node[0], node[0])


def _is_reference(node: list[Any]) -> bool:
    """Whether a list is a reference to an output of a layer: its name, a call, and an output of this call."""
    return len(node) >= 3 and isinstance(node[0], str) and all(isinstance(item, int) for item in node[1:3])


def _add_modules(root: Any) -> None:
    """Add the module of each layer, which a `.h5` file does not contain.

    Without it, Keras 3.15 drops an `axis` that is a list of several axes, replaces a string such as 'dot' by the
    function of that name in keras.layers, and does not find the layers within wrappers, all but the last in silence.
    """
    for node in _nodes(root):
        for value in (node.get(key) for key in LAYER_KEYS) if isinstance(node, dict) else ():
            for layer in value if isinstance(value, list) else [value]:
                if isinstance(layer, dict) and "class_name" in layer and "module" not in layer:
                    _add_module(layer)


def _add_module(layer: dict[str, Any]) -> None:
    name = str(layer["class_name"])
    if ">" in name:  # a registered class
        return
    if name in NESTED:
        layer |= {"module": "keras", "class_name": "Model" if name in MODELS else name}
    else:
        layer["module"] = UNEXPORTED.get(name, "keras.layers")
