#!/usr/bin/env bash
# After conversion by tf2onnx, `where(x > 0, 1 / x, 0)` answers NaN for 0: infinities of the other branch come through.
#
# Guess:     a choice between two branches becomes the ONNX operator Where, and ignores what the other branch contains.
# Fact:      tf2onnx multiplies each branch with the condition as 0 or 1 and adds the products, and 0 times infinity is
#            NaN. It makes a Where only if it recognises that NaN or infinity is involved, as in a test by isnan.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0, tf2onnx 1.17.0, onnx 1.23.2, onnxruntime 1.31.1, numpy 2.4.6
# Output:    (2026-11-28)
#            x              [4.0, 0.0]
#            Keras          [0.25, 0.0]
#            ONNX Runtime   [0.25, nan]
#            ONNX operators Add, Cast, Div, Greater, Mul, Not
# Relevance: the guard against a division by zero, and scores of minus infinity for what is not allowed, are common in
#            models with ratios or masks. After the conversion, one zero makes an answer NaN, which JSON writes as null.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.31.1

run - << 'PYTHON'
import subprocess
import sys

import keras
import numpy as np
import onnx
import onnxruntime

x = keras.Input((2,), name="x")
model = keras.Model(x, keras.ops.where(x > 0, 1 / x, 0.0))
model.export("exported", verbose=False)
tool = [sys.executable, "-m", "tf2onnx.convert"]
subprocess.run([*tool, "--saved-model", "exported", "--output", "m.onnx", "--opset", "18"], check=True)

rows = np.array([[4.0, 0.0]], "float32")
right = model.predict(rows, verbose=0)[0].tolist()
converted = onnxruntime.InferenceSession("m.onnx").run(None, {"x": rows})[0][0].tolist()
operators = sorted({node.op_type for node in onnx.load("m.onnx").graph.node})
for name, value in {"x": rows[0].tolist(), "Keras": right, "ONNX Runtime": converted}.items():
    print(f"{name:14} {value}")
print(f"{'ONNX operators':14} {', '.join(operators)}")
assert right == [0.25, 0.0]
assert converted[0] == 0.25 and np.isnan(converted[1])
assert "Where" not in operators
PYTHON
