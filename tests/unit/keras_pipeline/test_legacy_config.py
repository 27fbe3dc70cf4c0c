"""The rewriting of legacy configurations. The answers of the rewritten models are compared in an integration test."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError
from keras_pipeline.legacy_config import HARD_SIGMOID, modernize


def layer(class_name: str, name: str, calls: list | None = None, **config: Any) -> dict[str, Any]:
    """A layer in a `.h5` file of Keras 2, of a functional model if it has calls."""
    part = {"class_name": class_name, "config": {"name": name, **config}}
    return part if calls is None else {**part, "name": name, "inbound_nodes": calls}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}}


def functional(*layers: dict[str, Any], outputs: list, name: str = "model") -> dict[str, Any]:
    config = {"name": name, "layers": list(layers), "input_layers": [["x", 0, 0]], "output_layers": outputs}
    return {"class_name": "Functional", "config": config}


INPUT = layer("InputLayer", "x", batch_input_shape=[None, 4])


def modern(config: dict[str, Any], version: str = "2.15.0", file_format: str = "h5") -> dict[str, Any]:
    config = copy.deepcopy(config)
    modernize(config, version, file_format)
    return config


def modern_layer(part: dict[str, Any]) -> dict[str, Any]:
    """The second layer of a rewritten model whose first is the input."""
    return modern(sequential(INPUT, part))["config"]["layers"][1]


REWRITTEN = {
    "time_major": (layer("LSTM", "a", time_major=False), {"name": "a"}),
    "groups": (layer("DepthwiseConv2D", "a", groups=1), {"name": "a"}),
    "groups that matter": (layer("Conv2D", "a", groups=1), {"name": "a", "groups": 1}),
    "groups of another value": (layer("DepthwiseConv2D", "a", groups=2), {"name": "a", "groups": 2}),
    "shapes of attention": (layer("MultiHeadAttention", "a", query_shape=[None, 4]), {"name": "a"}),
    "robust masking": (
        layer("MultiHeadAttention", "a", softmax_robust_masking=True),
        {"name": "a", "softmax_robust_masking": True},
    ),
    "an axis in a list": (layer("BatchNormalization", "a", axis=[3]), {"name": "a", "axis": 3}),
    "several axes": (layer("LayerNormalization", "a", axis=[1, 2]), {"name": "a", "axis": [1, 2]}),
    "the random generator": (layer("RandomFlip", "a", rng_type="stateful"), {"name": "a"}),
    "a shape besides the input layer": (layer("Dense", "a", batch_input_shape=[None, 4]), {"name": "a"}),
    "the default of old versions": (layer("GRU", "a"), {"name": "a", "reset_after": False}),
    "its value in new versions": (layer("GRU", "a", reset_after=True), {"name": "a", "reset_after": True}),
    "a policy": (
        layer("Dense", "a", dtype={"class_name": "Policy", "config": {"name": "mixed_float16"}}),
        {"name": "a", "dtype": "mixed_float16"},
    ),
    "the hard sigmoid": (
        layer("Dense", "a", activation="hard_sigmoid"),
        {
            "name": "a",
            "activation": {
                "module": "builtins",
                "class_name": "function",
                "config": HARD_SIGMOID,
                "registered_name": HARD_SIGMOID,
            },
        },
    ),
    "the type of an initializer": (
        layer("Dense", "a", kernel_initializer={"class_name": "Zeros", "config": {"dtype": "float32"}}),
        {"name": "a", "kernel_initializer": {"class_name": "Zeros", "config": {}}},
    ),
    "a slope": (layer("LeakyReLU", "a", alpha=0.2), {"name": "a", "negative_slope": 0.2}),
}


@pytest.mark.parametrize(("part", "config"), REWRITTEN.values(), ids=REWRITTEN)
def test_the_arguments_of_a_layer_are_those_of_keras_3(part, config):
    assert modern_layer(part)["config"] == config


def test_a_random_crop_resizes_as_it_does_without_training_in_keras_2():
    crop = modern_layer(layer("RandomCrop", "a", height=4, width=4, seed=None, rng_type="stateful"))
    assert crop["class_name"] == "Resizing"
    assert crop["config"] == {"name": "a", "height": 4, "width": 4, "crop_to_aspect_ratio": True}


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_axis_of_time_that_is_first_is_rejected(wrapped):
    part = layer("LSTM", "decoder", time_major=True)
    with pytest.raises(PrepareError, match=r"layer 'decoder' has time_major=True") as rejection:
        modern_layer(layer("Bidirectional", "both", layer=part) if wrapped else part)
    assert rejection.value.reason == Reason.MODEL_UNSUPPORTED


def test_an_archive_of_keras_3_is_not_changed():
    config = sequential(layer("LSTM", "a/b", time_major=False, batch_input_shape=[None, 4]))
    assert not modernize(config, "3.15.1", "keras")
    assert config == sequential(layer("LSTM", "a/b", time_major=False, batch_input_shape=[None, 4]))


def test_a_legacy_file_of_keras_3_gets_modules_only():
    assert modernize(sequential(INPUT), "3.15.1", "h5")
    changed = modern(sequential(INPUT, layer("LSTM", "a", time_major=False)), "3.15.1")["config"]["layers"][1]
    assert changed == {**layer("LSTM", "a", time_major=False), "module": "keras.layers"}


def test_layers_get_the_module_of_their_class():
    inner = functional(layer("InputLayer", "x", [], batch_shape=[None, 4]), outputs=[["x", 0, 0]], name="inner")
    wrapper = layer("Bidirectional", "both", layer=layer("LSTM", "a"))
    scale = layer("LayerScale", "scale")
    own = {"class_name": "acme>Own", "config": {"name": "own"}}
    layers = modern(sequential(INPUT, inner, wrapper, scale, own))["config"]["layers"]
    assert [part.get("module") for part in layers] == [
        *("keras.layers", "keras", "keras.layers", "keras.src.applications.convnext", None),
    ]
    assert layers[2]["config"]["layer"]["module"] == "keras.layers"


def test_slashes_in_names_are_replaced_everywhere_without_collisions():
    model = functional(
        layer("InputLayer", "x", []),
        layer("Dense", "a/b", [[["x", 0, 0, {}]]]),
        layer("Dense", "a_b", [[["a/b", 0, 0, {}]]]),
        outputs=[["a_b", 0, 0], ["a/b", 0, 0]],
    )
    config = modern(model)["config"]
    assert [part["name"] for part in config["layers"]] == ["x", "a_b_1", "a_b"]
    assert [part["config"]["name"] for part in config["layers"]] == ["x", "a_b_1", "a_b"]
    assert config["layers"][2]["inbound_nodes"] == [[["a_b_1", 0, 0, {}]]]
    assert config["output_layers"] == [["a_b", 0, 0], ["a_b_1", 0, 0]]


def test_many_names_that_become_the_same_stay_short():
    names = [f"{index:010b}".replace("0", "/").replace("1", "_") for index in range(1 << 10)]
    layers = modern(sequential(*(layer("Dense", name) for name in names)))["config"]["layers"]
    new_names = {part["config"]["name"] for part in layers}
    assert len(new_names) == len(names)
    assert max(map(len, new_names)) < 16


@pytest.mark.parametrize(("output", "name"), [("y", "concatenate_1_layer"), ("concatenate_1", "concatenate_1")])
def test_names_that_keras_gives_to_operations_are_replaced_unless_they_are_outputs(output, name):
    model = functional(
        layer("InputLayer", "x", []),
        layer("Concatenate", "concatenate_1", [[["x", 0, 0, {}], ["x", 0, 0, {}]]]),
        layer("Dense", "y", [[["concatenate_1", 0, 0, {}]]]),
        outputs=[[output, 0, 0]],
    )
    assert modern(model)["config"]["layers"][1]["name"] == name


def tensor(name: str, call: int, output: int) -> dict[str, Any]:
    config = {"shape": [None], "dtype": "float32", "keras_history": [name, call, output]}
    return {"class_name": "__keras_tensor__", "config": config}


def test_tensors_in_keyword_arguments_are_objects():
    call = [["x", 0, 0, {"value": ["x", 0, 0], "mask": None}]]
    model = functional(layer("InputLayer", "x", []), layer("MultiHeadAttention", "y", [call]), outputs=[["y", 0, 0]])
    assert modern(model)["config"]["layers"][1]["inbound_nodes"] == [
        {"args": [tensor("x", 0, 0)], "kwargs": {"value": tensor("x", 0, 0), "mask": None}}
    ]


def test_initial_states_are_a_keyword_argument():
    call = [["x", 0, 0, {"constants": None}], ["e", 0, 1, {}], ["e", 0, 2, {"constants": None}]]
    model = functional(
        layer("InputLayer", "x", []),
        layer("LSTM", "e", [[["x", 0, 0, {}]]]),
        layer("LSTM", "y", [call]),
        outputs=[["y", 0, 0]],
    )
    assert modern(model)["config"]["layers"][2]["inbound_nodes"] == [
        {"args": [tensor("x", 0, 0)], "kwargs": {"initial_state": [tensor("e", 0, 1), tensor("e", 0, 2)]}}
    ]


@pytest.mark.parametrize(("class_name", "output"), [("Functional", 1), ("Sequential", 0)])
def test_the_call_that_built_a_nested_model_is_not_counted(class_name, output):
    inner = {**layer(class_name, "inner", [[["x", 0, 0, {}]]], layers=[layer("InputLayer", "i", [])])}
    model = functional(
        layer("InputLayer", "x", []), inner, layer("Dense", "y", [[["inner", 1, 0, {}]]]),
        outputs=[["y", 0, 0], ["inner", 1, 0]],
    )  # fmt: skip
    config = modern(model)["config"]
    assert config["layers"][2]["inbound_nodes"] == [[["inner", 0, 0, {}]]]
    assert config["output_layers"] == [["y", 0, 0], ["inner", output, 0]]


def test_a_model_with_one_output_does_not_answer_with_a_list():
    assert modern(functional(layer("InputLayer", "x", []), outputs=[["x", 0, 0]]))["config"]["output_layers"] == [
        "x",
        0,
        0,
    ]


def test_a_sequential_model_gets_the_input_layer_that_old_versions_leave_out():
    old = {"class_name": "Sequential", "config": [layer("Dense", "a", batch_input_shape=[None, 4])]}
    config = modern(old, "2.1.6")["config"]
    assert [part["class_name"] for part in config["layers"]] == ["InputLayer", "Dense"]
    assert config["layers"][0]["config"]["batch_shape"] == [None, 4]
    assert config["layers"][1]["config"] == {"name": "a"}


def test_modules_of_tf_keras_are_those_of_keras():
    functional_model = {**functional(INPUT, outputs=[["x", 0, 0]]), "module": "tf_keras.src.engine.functional"}
    functional_model["registered_name"] = "Functional"
    scale = {
        **layer("LayerScale", "s"),
        "module": "tf_keras.src.applications.convnext",
        "registered_name": "LayerScale",
    }
    functional_model["config"]["layers"].append(scale)
    config = modern(functional_model, file_format="keras")
    assert (config["module"], config["class_name"], config.get("registered_name")) == ("keras", "Model", None)
    assert config["config"]["layers"][1]["module"] == "keras.src.applications.convnext"


MALFORMED = [
    {"class_name": "LSTM", "config": None},
    {"class_name": 3, "config": {}},
    {"class_name": "Sequential", "config": {"layers": [1, None, []]}},
    {"class_name": "Functional", "config": {"layers": [{"inbound_nodes": [1, [2], [[3]], [["x"]]]}]}},
    {"class_name": "Model", "config": {"layers": [{"name": [], "class_name": [], "inbound_nodes": [None]}]}},
    {"class_name": "Model", "config": {"name": {}, "layers": 1, "input_layers": [[]], "output_layers": 7}},
    {"class_name": "GRU", "config": {"name": [], "axis": [[]], "dtype": {"class_name": "Policy"}, "x_initializer": {}}},
]


@pytest.mark.parametrize("part", MALFORMED, ids=repr)
def test_a_malformed_configuration_is_left_to_keras(part):
    modern(sequential(part))
    modern(part)
