"""The minimum of a preparation: import, load, export, convert, open. No checks, no parity, no bundle."""

import os
import sys

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0", KERAS_BACKEND="tensorflow")

import keras
import onnxruntime
import tensorflow as tf
import tf2onnx.tf_loader
from tf2onnx.tfonnx import process_tf_graph

source, folder = sys.argv[1:]
model = keras.saving.load_model(source, compile=False)
archive = keras.export.ExportArchive()
archive.track(model)
signature = [tf.TensorSpec([None, *model.inputs[0].shape[1:]], "float32", name="x")]
archive.add_endpoint("serve", lambda x: model(x, training=False), input_signature=signature)
archive.write_out(folder, verbose=False)
graph, inputs, outputs = tf2onnx.tf_loader.from_saved_model(folder, None, None, tag="serve", signatures=["serve"])
with tf.Graph().as_default() as tf_graph:
    tf.import_graph_def(graph, name="")
    converted = process_tf_graph(tf_graph, opset=18, input_names=inputs, output_names=outputs)
onnxruntime.InferenceSession(converted.make_model("model").SerializeToString(), providers=["CPUExecutionProvider"])
