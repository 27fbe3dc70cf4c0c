"""The converter for ONNX Runtime: a SavedModel to ONNX, under the model's own input and output names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx
from tf2onnx import optimizer, tf_loader, tfonnx, utils
from tf2onnx.handler import tf_op

from keras_pipeline.converters.base import Export, RuntimeFiles
from keras_pipeline.errors import ConversionError, first_lines
from keras_pipeline.saved_model import SIGNATURE

OPSET = 18
# The only graph optimiser of tf2onnx that is required: without it loops are not valid ONNX. ONNX Runtime optimises the
# graph itself, and all optimisers together double the memory of a conversion.
OPTIMIZERS = {"remove_identity": optimizer.identity_optimizer.IdentityOptimizer}


@tf_op("Erfc")
class Erfc:
    """Converts Erfc, which ONNX lacks, to 1 - Erf. TensorFlow's optimiser makes Erfc from exact GELU."""

    @classmethod
    def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Rewrite the node. tf2onnx requires this name."""
        shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
        ctx.remove_node(node.name)
        erf = ctx.make_node("Erf", node.input, shapes=[shape], dtypes=[dtype])
        one = ctx.make_const(utils.make_name("one"), np.array(1.0, dtype=utils.map_onnx_to_numpy_type(dtype)))
        ctx.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, shapes=[shape], dtypes=[dtype])


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
