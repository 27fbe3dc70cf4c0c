#!/usr/bin/env bash
# Keras's Embedding answers the id -1 with the last row of its table.
#
# Guess:     an id outside of 0 ... input_dim - 1 is an error on CPUs, whether it is too small or too large.
# Fact:      Keras adds input_dim to negative ids before the look-up, as Python does with an index. -1 is the last row,
#            and -3 is the first of three. The id 3 is an error.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28; a table of three rows 10, 20, 30)
#            id  0: 10
#            id  2: 30
#            id -1: 30
#            id -3: 10
#            id  3: InvalidArgumentError
# Relevance: -1 is the usual mark of a missing category. A request with it gets the prediction of the last category, and
#            no status code or log shows it.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
import keras
import numpy as np
import tensorflow as tf

model = keras.Sequential([keras.Input((), dtype="int32"), keras.layers.Embedding(3, 1)])
model.set_weights([np.array([[10], [20], [30]], dtype="float32")])
found = []
for identity in (0, 2, -1, -3, 3):
    try:
        answer = round(model.predict(np.array([identity]), verbose=0).item())
    except tf.errors.InvalidArgumentError as error:
        answer = type(error).__name__
    found.append(answer)
    print(f"id {identity:2}: {answer}")
assert found == [10, 30, 30, 10, "InvalidArgumentError"]
PYTHON
