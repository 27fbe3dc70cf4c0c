#!/usr/bin/env bash
# After conversion by tf2onnx, Resizing(interpolation="nearest") takes other pixels for some sizes of the picture.
#
# Guess:     "nearest" copies pixels, so there is nothing to round: all sizes are right, or all are wrong.
# Fact:      the source coordinate is computed in another order of float32 operations. Where it falls on a border between
#            two pixels, ONNX Runtime takes the neighbour: for 160 or 640 pixels to 48, a fourth of all pixels; for most
#            sizes, none.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0, tf2onnx 1.17.0, onnx 1.23.2, onnxruntime 1.31.1
# Output:    (2026-11-28; different pixels after resizing to 48 x 48)
#            100 x 100:  0.0 %
#            160 x 160: 23.4 %
#            320 x 320:  0.0 %
#            640 x 640: 23.4 %
# Relevance: image models resize what they are sent. A comparison of the converted model with Keras on pictures of one size
#            proves nothing for the next client's camera.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.31.1

run << 'PYTHON'
import subprocess
import sys

import keras
import numpy as np
import onnxruntime

resizing = keras.layers.Resizing(48, 48, interpolation="nearest")
model = keras.Sequential([keras.Input((None, None, 1), name="picture"), resizing])
model.export("exported", verbose=False)
command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", "exported", "--output", "m.onnx", "--opset", "18"]
subprocess.run(command, check=True, capture_output=True)
session = onnxruntime.InferenceSession("m.onnx")

different = {}
for size in (100, 160, 320, 640):
    # Every pixel has a value of its own, which float32 holds exactly.
    picture = np.arange(size * size, dtype="float32").reshape(1, size, size, 1)
    (converted,) = session.run(None, {"picture": picture})
    different[size] = (converted != model.predict(picture, verbose=0)).mean()
    print(f"{size} x {size}: {different[size]:5.1%}".replace("%", " %"))
assert different[100] == 0
assert different[160] > 0.2
assert different[640] > 0.2
PYTHON
