#!/usr/bin/env bash
# TensorFlow with oneDNN answers a row that contains NaN with ordinary numbers: Dense with ReLU turns NaN into 0.
#
# Guess:     a NaN in the input stays a NaN in the output, as IEEE 754 has it, whatever an environment variable says.
# Fact:      `predict` and the exported model fuse Dense and ReLU into one oneDNN operation, which answers 0 for NaN.
#            The model answers its bias, as if the whole row were missing. `model(x)` answers NaN, and so does
#            everything with TF_ENABLE_ONEDNN_OPTS=0.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0; oneDNN is on by default on new x86 CPUs, here it is set to be sure
# Output:    (2026-11-28; x86-64 with AVX512)
#            TF_ENABLE_ONEDNN_OPTS=1  predict 7    export 7    model(x) nan
#            TF_ENABLE_ONEDNN_OPTS=0  predict nan  export nan  model(x) nan
# Relevance: NaN is how clients mark a missing measurement. A server on TensorFlow answers it with a plausible
#            prediction, and the answer depends on the node's CPU or on a variable in the pod.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

for setting in 1 0; do
  run - "$setting" << 'PYTHON'
import os
import sys

setting = os.environ["TF_ENABLE_ONEDNN_OPTS"] = sys.argv[1]

import keras
import numpy as np
import tensorflow as tf

hidden = keras.layers.Dense(8, activation="relu")
answer = keras.layers.Dense(1, bias_initializer=keras.initializers.Constant(7))
model = keras.Sequential([keras.Input((4,)), hidden, answer])
row = np.array([[1, float("nan"), 3, 4]], "float32")
model.export("exported", verbose=False)
exported = tf.saved_model.load("exported")
found = {
    "predict": model.predict(row, verbose=0).item(),
    "export": exported.serve(row).numpy().item(),
    "model(x)": model(row).numpy().item(),
}
print(f"TF_ENABLE_ONEDNN_OPTS={setting} ", "  ".join(f"{name} {figure:<3g}" for name, figure in found.items()))
expected = [7, 7, float("nan")] if setting == "1" else [float("nan")] * 3
np.testing.assert_array_equal(list(found.values()), expected)
PYTHON
done
