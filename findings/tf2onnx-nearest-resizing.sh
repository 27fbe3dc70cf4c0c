#!/usr/bin/env bash
# After conversion by tf2onnx, Resizing(interpolation="nearest") takes other pixels for some sizes of the picture.
#
# Guess:     "nearest" copies pixels, so there is nothing to round: all sizes are right, or all are wrong.
# Fact:      of the sizes from 8 to 512 pixels, four are wrong for a target of 48: 160, 224, 320 and 448. There the
#            source coordinate falls on the border between two pixels (1.5 * 160 / 48 = 5), and ONNX Runtime takes the
#            neighbour of the pixel that Keras takes. For pictures of 160 x 160, a fourth of all pixels differ.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0, tf2onnx 1.17.0, onnx 1.23.2, onnxruntime 1.31.1
# Output:    (2026-11-28; resized to 48 x 48)
#            sizes with other pixels: 160, 224, 320, 448
#            100 x 100:  0.0 % of the pixels differ
#            160 x 160: 23.4 % of the pixels differ
#            224 x 224:  8.2 % of the pixels differ
# Relevance: image models resize what they are sent. A comparison of the converted model with Keras on pictures of one
#            size proves nothing for the next client's camera.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.31.1

run - << 'PYTHON'
import subprocess
import sys

import keras
import numpy as np
import onnxruntime
import tensorflow as tf

resizing = keras.layers.Resizing(48, 48, interpolation="nearest")
model = keras.Sequential([keras.Input((None, None, 1), name="picture"), resizing])
model.export("exported", verbose=False)
tool = [sys.executable, "-m", "tf2onnx.convert"]
subprocess.run([*tool, "--saved-model", "exported", "--output", "m.onnx", "--opset", "18"], check=True)
session = onnxruntime.InferenceSession("m.onnx")

original = tf.saved_model.load("exported")


def different(height, width):
    # Every pixel has a value of its own, which float32 holds exactly.
    picture = np.arange(height * width, dtype="float32").reshape(1, height, width, 1)
    (converted,) = session.run(None, {"picture": picture})
    return (converted != original.serve(picture).numpy()).mean()


sizes = [size for size in range(8, 513) if different(size, 1)]
print("sizes with other pixels:", ", ".join(map(str, sizes)))
shares = [different(size, size) for size in (100, 160, 224)]
for size, share in zip((100, 160, 224), shares):
    print(f"{size} x {size}: {share * 100:4.1f} % of the pixels differ")
assert sizes == [160, 224, 320, 448]
assert shares[0] == 0
assert min(shares[1:]) > 0.05
PYTHON
