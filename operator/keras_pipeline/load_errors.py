"""Explains why Keras does not load a model file that passed the inspection: the cause, its reason, and the remedy.

The reason follows from what Keras was doing when it failed, not from the words of its message, which may contain any
name of a layer. Parts that Keras's safe mode refuses do not reach this module: the inspection rejects them.
"""

from __future__ import annotations

import re
import sys
import traceback

import keras

from keras_api.reasons import Reason
from keras_pipeline.errors import LOAD_WEIGHTS, SAVE_AGAIN, PrepareError, first_lines
from keras_pipeline.inspection import ModelProperties, parts
from keras_pipeline.legacy_config import FIRST_SUPPORTED_MAJOR
from keras_pipeline.model_file import ModelFile

# The functions of Keras that read weights into a model that is built already, by module.
READS_WEIGHTS = {
    "keras.src.saving.saving_lib": {"_load_state", "_raise_loading_failure"},
    "keras.src.legacy.saving.legacy_h5_format": {"load_weights_from_hdf5_group"},
}


def load_error(error: Exception, file: ModelFile, properties: ModelProperties) -> PrepareError:
    """The error for a file that Keras does not load."""
    if _failed_in_weights(error):
        return _weights_error(error, properties)
    this, saved_by = f"Keras {keras.__version__}", properties.keras_version
    origin = f" (saved by Keras {saved_by})" if saved_by else ""
    rebuild = f"build the model with {this}, {LOAD_WEIGHTS}"
    if _numbers(saved_by) > _numbers(keras.__version__):
        rebuild += ", or upgrade the operator"
    if file.format == "h5" and _numbers(saved_by) >= (FIRST_SUPPORTED_MAJOR,):
        # Keras does not restore every model of a .h5 file: it takes an addition of two tensors for the layer Add.
        rebuild = f"save the model with model.save('name.keras') instead, or {rebuild}"
    if unknown := _unknown_class(file):
        layer, name = unknown
        if file.format == "h5" and _is_operation(name):
            return PrepareError(
                Reason.MODEL_UNSUPPORTED,
                f"layer {layer!r} is the operation {name!r} of keras.ops, which Keras does not restore from a .h5 "
                "file: save the model with model.save('name.keras') and upload that file",
            )
        return PrepareError(
            Reason.MODEL_UNSUPPORTED,
            f"layer {layer!r} needs the class {name!r}, which {this} does not have{origin}. If it is your own class, "
            "put its code into a ConfigMap and set spec.source.customObjects.configMapRef. If it is a class of "
            f"another version of Keras, {rebuild}",
        )
    return PrepareError(
        Reason.MODEL_UNSUPPORTED, f"{this} cannot load the model{origin}: {_cause(error)}. As a remedy, {rebuild}"
    )


def _failed_in_weights(error: Exception) -> bool:
    """Whether the model was built from its configuration, and its weights do not fit.

    Keras raises a ValueError for both, so the functions that were active decide.
    """
    return any(
        frame.f_code.co_name in READS_WEIGHTS.get(frame.f_globals.get("__name__", ""), ())
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _weights_error(error: Exception, properties: ModelProperties) -> PrepareError:
    # Only the message of Keras contains the layer: `<Dense name=hidden, built=True>`, or `(named hidden ...)` in a .h5
    # file. A name that is not found is left out.
    found = re.search(r"for object <\w+ name=(.+?), built=|\(named (\S+?)(?: in the current model,.*)?\)", str(error))
    layer = f"layer {(found[1] or found[2])!r}" if found else "a layer"
    if properties.quantized and properties.keras_version != keras.__version__:
        return PrepareError(
            Reason.MODEL_UNSUPPORTED,
            f"Keras {properties.keras_version or 'of an unknown version'} quantised the weights of {layer} in another "
            f"layout than that of Keras {keras.__version__}: save the model before it is quantised, load it with Keras "
            f"{keras.__version__}, call model.quantize and save it again, or serve the model that is not quantised",
        )
    return PrepareError(
        Reason.MODEL_UNREADABLE,
        f"the weights of {layer} are missing, or do not have the shape in its configuration: {SAVE_AGAIN}",
    )


def _cause(error: Exception) -> str:
    """The message of Keras without the configurations: those of all enclosing layers precede the cause."""
    return first_lines(str(error).rsplit("Exception encountered: ", 1)[-1].partition("Full object config:")[0])


def _unknown_class(file: ModelFile) -> tuple[str, str] | None:
    """The first layer of a class that is not in the module of Keras where the file says it is, and the class."""
    for part in parts(file.config):
        module = part.content.get("module")
        if isinstance(module, str) and module.split(".")[0] == "keras" and part.class_name != "function":
            known = hasattr(sys.modules.get(module), part.class_name)
            if not known and part.class_name not in keras.saving.get_custom_objects():
                return part.layer, part.class_name
    return None


def _is_operation(name: str) -> bool:
    """Whether keras.ops has an operation of this class."""
    modules = [module for path, module in sys.modules.items() if path.startswith("keras.src.ops.")]
    return any(isinstance(getattr(module, name, None), type) for module in modules)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
