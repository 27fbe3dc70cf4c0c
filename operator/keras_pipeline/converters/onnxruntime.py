"""The converter for ONNX Runtime: a SavedModel to ONNX, under the model's own input and output names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf2onnx
from tf2onnx import optimizer, tf_loader, tfonnx

from keras_pipeline.converters.base import Export, RuntimeFiles
from keras_pipeline.errors import ConversionError, first_lines
from keras_pipeline.onnx_rewrites import REWRITES as REWRITES
from keras_pipeline.saved_model import SIGNATURE

OPSET = 18
_COMPILED = "_XlaMustCompile"
# The only graph optimiser of tf2onnx that is required: without it loops are not valid ONNX. ONNX Runtime optimises the
# graph itself, and all optimisers together double the memory of a conversion.
OPTIMIZERS = {"remove_identity": optimizer.identity_optimizer.IdentityOptimizer}


def convert(export: Export, file: Path) -> RuntimeFiles:
    """Convert the signature `serve` of a SavedModel.

    Args:
        export: the SavedModel.
        file: the ONNX file to write.

    Raises:
        ConversionError: an operation cannot be converted.
    """
    log = logging.getLogger("tf2onnx")
    log.setLevel(logging.CRITICAL)  # ONNX Runtime reports unknown operations when it opens the file
    own_names = {argument: name for name, argument in export.input_bindings.items()}
    try:
        graph_def, inputs, outputs, tables, names = tf_loader.from_saved_model(
            str(export.folder),
            None,
            None,
            ["serve"],
            [SIGNATURE],
            return_initialized_tables=True,
            return_tensors_to_rename=True,
        )
        graph_def = _inline_compiled_functions(graph_def, inputs, outputs)
        names = {tensor: own_names.get(name, name) if tensor in inputs else name for tensor, name in names.items()}
        with tf.Graph().as_default() as graph, tf.device("/cpu:0"):
            tf.import_graph_def(graph_def, name="")
            converted = tfonnx.process_tf_graph(
                graph,
                opset=OPSET,
                input_names=inputs,
                output_names=outputs,
                tensors_to_rename=names,
                initialized_tables=tables,
            )
            converted = optimizer.optimize_graph(converted, catch_errors=False, optimizers=OPTIMIZERS)
            proto = converted.make_model(f"converted by keras-operator with tf2onnx {tf2onnx.__version__}")
        file.write_bytes(proto.SerializeToString())
    except MemoryError:
        raise
    except Exception as error:  # tf2onnx may raise any
        raise ConversionError(f"tf2onnx: {type(error).__name__}: {first_lines(error)}") from error
    return RuntimeFiles(file, {})


def _inline_compiled_functions(graph_def: Any, inputs: list[str], outputs: list[str]) -> Any:
    """The graph without calls of functions that XLA must compile, which no optimiser inlines otherwise.

    Keras wraps a grouped convolution in such a function, because TensorFlow's own kernel refuses it on CPUs.
    """
    functions = graph_def.library.function
    calls = [*graph_def.node, *(node for function in functions for node in function.node_def)]
    compiled = [each for each in (*calls, *functions) if _COMPILED in each.attr]
    if not compiled:
        return graph_def
    for each in compiled:
        for attribute in (_COMPILED, "_noinline"):
            each.attr.pop(attribute, None)
    with tf.Graph().as_default():  # tf_optimize exports the default graph
        tf.import_graph_def(graph_def, name="")
        return tf_loader.tf_optimize(inputs, outputs, graph_def)
