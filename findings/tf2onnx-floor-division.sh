#!/usr/bin/env bash
# After conversion by tf2onnx, integer // and % of negative numbers truncate, where Keras rounds towards minus
# infinity.
#
# Guess:     `//` and `%` mean in the ONNX model what they mean in Keras, numpy and Python, or tf2onnx refuses them.
# Fact:      ONNX Runtime answers -7 // 3 with -2 (Keras: -3) and -7 % 3 with -1 (Keras: 2). Positive integers and
#            floats are right, so a comparison on the usual test rows does not see it.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0, tf2onnx 1.17.0, onnx 1.23.2, onnxruntime 1.31.1
# Output:    (2026-11-28; // 3 and % 3)
#            int32    -7: Keras -3 and 2, ONNX Runtime -2 and -1
#            int32     7: Keras 2 and 1, ONNX Runtime 2 and 1
#            float32  -7: Keras -3 and 2, ONNX Runtime -3 and 2
# Relevance: models compute hours and weekdays from timestamps, or bins from differences, in integers. 11 pm on the day
#            before the epoch becomes hour -1, the index of another embedding row.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.31.1

run - << 'PYTHON'
import subprocess
import sys

import keras
import numpy as np
import onnxruntime


def answers(dtype):
    number = keras.Input((1,), dtype=dtype, name="number")
    model = keras.Model(number, {"quotient": number // 3, "remainder": number % 3})
    model.export("exported", verbose=False)
    tool = [sys.executable, "-m", "tf2onnx.convert"]
    subprocess.run([*tool, "--saved-model", "exported", "--output", "m.onnx", "--opset", "18"], check=True)
    session = onnxruntime.InferenceSession("m.onnx")
    rows = np.array([[-7], [7]], dtype)
    right = model.predict(rows, verbose=0)
    converted = session.run(["quotient", "remainder"], {"number": rows})
    columns = right["quotient"], right["remainder"], *converted
    return [tuple(round(column[row].item()) for column in columns) for row in range(2)]


integers, floats = answers("int32"), answers("float32")
for dtype, number, (quotient, remainder, other_quotient, other_remainder) in (
    ("int32", -7, integers[0]),
    ("int32", 7, integers[1]),
    ("float32", -7, floats[0]),
):
    print(
        f"{dtype:8} {number:2}: Keras {quotient} and {remainder}, ONNX Runtime {other_quotient} and {other_remainder}"
    )
assert integers == [(-3, 2, -2, -1), (2, 1, 2, 1)]
assert floats[0] == (-3, 2, -3, 2)
PYTHON
