"""Every class of Keras that its safe mode loads passes the inspection, and the functions beside them do not."""

from __future__ import annotations

import importlib
import inspect as python
import pkgutil
from collections.abc import Iterator

import keras
import pytest
from keras.src import api_export
from keras.src.applications import convnext
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from keras.src.saving import serialization_lib
from keras.src.saving.keras_saveable import KerasSaveable

from keras_pipeline.errors import PrepareError
from keras_pipeline.inspection import inspect
from keras_pipeline.model_file import ModelFile
from keras_pipeline.weights import Weights

# They execute code or run on JAX only. The inspection names them with a message of their own.
NAMED = {"FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper"}
# Losses and metrics of training, which are never loaded.
NOT_IN_A_MODEL = {"CompileLoss", "CompileMetrics", "MetricsList"}
DOWNLOADING = ("keras.applications", "keras.datasets", "keras.utils")


def keras_modules() -> Iterator[object]:
    """All modules of Keras, without its tests and other backends."""
    for info in pkgutil.walk_packages(keras.src.__path__, "keras.src."):
        if "test" not in info.name.rsplit(".", 1)[-1]:
            try:
                yield importlib.import_module(info.name)
            except ModuleNotFoundError:  # a backend that is not installed
                continue


def part(module: str, name: str, function: bool = False) -> dict:
    """A class as the configuration of a model contains it, with the name that Keras writes."""
    if function:
        return {"module": module, "class_name": "function", "config": name, "registered_name": name}
    return {"module": module, "class_name": name, "config": {"name": "the_layer"}, "registered_name": None}


def refusal(content: dict) -> str:
    """The message with which the inspection rejects a part; empty if it accepts it."""
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "model", "layers": [content]}}
    try:
        inspect(ModelFile("keras", keras.__version__, config, Weights(1 << 30, 1 << 30)))
    except PrepareError as error:
        return error.message
    return ""


def loadable(content: dict) -> bool:
    """Whether the safe mode of Keras finds the class."""
    try:
        found = serialization_lib._retrieve_class_or_fn(
            content["class_name"], None, content["module"], "class", content, custom_objects={}
        )
    except (TypeError, ValueError):
        return False
    return python.isclass(found)


@pytest.fixture(scope="module")
def classes() -> list[dict]:
    """Every class that a configuration can contain, under its public name or the module of its code."""
    found = {}
    for module in keras_modules():
        for name, value in vars(module).items():
            if python.isclass(value) and value.__module__ == module.__name__ and hasattr(value, "from_config"):
                public = api_export.get_name_from_symbol(value)
                place = public.rpartition(".")[0] if public else module.__name__
                found[place, name] = part(place, name)
    return list(found.values())


def test_every_class_that_keras_loads_passes_the_inspection(classes):
    checked = {
        f"{content['module']}.{content['class_name']}": refusal(content) for content in classes if loadable(content)
    }
    assert len(checked) > 500  # layers, operations, initializers, regularizers, constraints, policies, quantizers ...
    refused = {name.rpartition(".")[2]: message for name, message in checked.items() if message}
    assert set(refused) == NAMED | NOT_IN_A_MODEL, refused
    assert [name for name in NAMED if f"is a {name}" not in refused[name]] == []


def test_the_table_contains_the_layers_of_applications_and_every_kind_of_object(classes):
    names = {content["class_name"] for content in classes}
    assert names >= {
        *(
            "LayerScale",
            "StochasticDepth",
            "CustomScaleLayer",
            "FeatureSpace",
            "Dense",
            "GlorotUniform",
            "L2",
            "MaxNorm",
        ),
        *("DTypePolicy", "QuantizedDTypePolicy", "SeedGenerator", "AbsMaxQuantizer", "Functional", "Sequential"),
    }
    assert issubclass(importlib.import_module("keras.src.applications.convnext").LayerScale, KerasSaveable)


def test_activations_and_operations_pass_the_inspection():
    for module in (keras.activations, keras.ops, keras.ops.nn, keras.ops.image):
        for name, value in vars(module).items():
            if python.isfunction(value):
                assert refusal(part(module.__name__, name, function=True)) == ""


def test_functions_that_the_safe_mode_of_keras_refuses_do_not_pass_the_inspection():
    """Therefore no error of the safe mode has to be recognised by its message."""
    assert len(serialization_lib.NON_MODELING_APIS) > 20
    for api in serialization_lib.NON_MODELING_APIS:
        module, _, name = api.rpartition(".")
        for function in (True, False):
            assert "find out who created the file" in refusal(part(module, name, function)), api


@pytest.mark.parametrize("module", DOWNLOADING)
def test_functions_that_download_do_not_pass_the_inspection(module):
    names = [name for name, value in vars(importlib.import_module(module)).items() if python.isfunction(value)]
    for name in [*names, "load_data"]:
        for function in (True, False):
            assert "find out who created the file" in refusal(part(module, name, function)), name


def test_a_model_with_layers_of_applications_is_prepared(prepare_model):
    x = keras.Input((32, 32, 3), name="photo")
    features = convnext.ConvNeXt(
        *([1, 1, 1, 1], [8, 8, 8, 8]), drop_path_rate=0.1, weights=None, include_top=False, input_shape=(32, 32, 3)
    )(x)
    scaled = CustomScaleLayer(0.5, name="scaled")([features, features])
    prepared = prepare_model(keras.Model(x, keras.layers.GlobalAveragePooling2D(name="pooled")(scaled)))
    assert prepared.output_names == ["pooled"]
