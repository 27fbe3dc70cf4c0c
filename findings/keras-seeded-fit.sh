#!/usr/bin/env bash
# With a seed, Keras's `fit` shuffles the rows once: every epoch has the same order.
#
# Guess:     keras.utils.set_random_seed makes a run repeatable, and `shuffle=True` gives each epoch another order, as
#            it does without a seed.
# Fact:      with a seed, all epochs of a `fit` have one order, so the batches never change. Without a seed they do.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28; 64 rows, 5 epochs, TensorFlow backend)
#            without a seed: 5 different orders in 5 epochs
#            with a seed:    1 different order in 5 epochs, and it is not 0, 1, 2, ...
# Relevance: a training Job sets a seed, so that a repeated Job gives the same model. It also loses the shuffling. A way
#            out is to call `fit` for one epoch with a permutation made from seed and epoch.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
import keras
import numpy as np
import tensorflow as tf

ROWS, EPOCHS = 64, 5


def orders():
    seen = []

    class Record(keras.layers.Layer):
        def call(self, inputs):
            tf.py_function(lambda row: seen.append(int(row[0, 0])), [inputs], [])
            return inputs

    model = keras.Sequential([keras.Input((1,)), Record(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    rows = np.arange(ROWS, dtype="float32").reshape(-1, 1)
    model.fit(rows, rows, batch_size=1, epochs=EPOCHS, shuffle=True, verbose=0)
    found = {tuple(seen[start : start + ROWS]) for start in range(0, ROWS * EPOCHS, ROWS)}
    assert all(sorted(order) == list(range(ROWS)) for order in found)
    return found


free = orders()
print(f"without a seed: {len(free)} different orders in {EPOCHS} epochs")
keras.utils.set_random_seed(1)
seeded = orders()
shuffled = seeded != {tuple(range(ROWS))}
print(f"with a seed:    {len(seeded)} different order in {EPOCHS} epochs, and it is {'not ' * shuffled}0, 1, 2, ...")
assert len(free) == EPOCHS
assert len(seeded) == 1
assert shuffled
PYTHON
