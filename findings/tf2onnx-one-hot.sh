#!/usr/bin/env bash
# After conversion by tf2onnx, the one-hot code of -1 is the last class, where Keras answers a row of zeros.
#
# Guess:     a number outside of the classes gives the same row everywhere: zeros, as in Keras.
# Fact:      the ONNX operator OneHot counts negative numbers from the end. -1 becomes the last class and -3 the first;
#            numbers that are too large stay zeros. tf2onnx adds nothing that tells them apart.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0, tf2onnx 1.17.0, onnx 1.23.2, onnxruntime 1.31.1
# Output:    (2026-11-28; three classes)
#             0: Keras [1, 0, 0], ONNX Runtime [1, 0, 0]
#             3: Keras [0, 0, 0], ONNX Runtime [0, 0, 0]
#            -1: Keras [0, 0, 0], ONNX Runtime [0, 0, 1]
#            -3: Keras [0, 0, 0], ONNX Runtime [1, 0, 0]
# Relevance: pandas and many feature pipelines code a missing category as -1, which Keras's row of zeros handles well.
#            After the conversion, "missing" is a vote for one category.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.31.1

run - << 'PYTHON'
import subprocess
import sys

import keras
import numpy as np
import onnxruntime

category = keras.Input((), dtype="int32", name="category")
model = keras.Model(category, keras.ops.one_hot(category, 3))
model.export("exported", verbose=False)
tool = [sys.executable, "-m", "tf2onnx.convert"]
subprocess.run([*tool, "--saved-model", "exported", "--output", "m.onnx", "--opset", "18"], check=True)

rows = np.array([0, 3, -1, -3], "int32")
right = model.predict(rows, verbose=0).astype(int).tolist()
(converted,) = onnxruntime.InferenceSession("m.onnx").run(None, {"category": rows})
converted = converted.astype(int).tolist()
for number, keras_row, onnx_row in zip(rows, right, converted):
    print(f"{number:2}: Keras {keras_row}, ONNX Runtime {onnx_row}")
assert right == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
assert converted == [[1, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]
PYTHON
