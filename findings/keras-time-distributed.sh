#!/usr/bin/env bash
# An exported TimeDistributed with a free time axis handles as many steps as the batch has rows, and drops the others.
#
# Guess:     `model.export` writes what `model.predict` computes, also for Input((None, 2)): all steps of each sequence.
# Fact:      the exported model counts the steps on the wrong axis, that of the rows. One row with three steps gives one
#            step, two rows give two. It is right if both numbers are equal, as in a careless test. There is no warning.
#            A fixed length, Input((3, 2)), is right.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28; a sum of the two features of each of three steps)
#            free length, 1 row    predict: [1, 5, 9]              export: [1]
#            free length, 2 rows   predict: [1, 5, 9, 13, 17, 21]  export: [1, 5, 13, 17]
#            fixed length, 1 row   predict: [1, 5, 9]              export: [1, 5, 9]
#            fixed length, 2 rows  predict: [1, 5, 9, 13, 17, 21]  export: [1, 5, 9, 13, 17, 21]
# Relevance: video, text and sensor models use this layer, and every server that runs a SavedModel or converts one
#            starts from the exported model. Behind a pooling layer or an LSTM the shape is right and only the figures
#            are wrong.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
import keras
import numpy as np
import tensorflow as tf


def answers(length, rows):
    sequence = keras.Input((length, 2))
    layer = keras.layers.TimeDistributed(keras.layers.Dense(1, kernel_initializer="ones"))
    model = keras.Model(sequence, layer(sequence))
    values = np.arange(rows * 6, dtype="float32").reshape(rows, 3, 2)
    model.export("exported", verbose=False)
    exported = tf.saved_model.load("exported")
    return model.predict(values, verbose=0), exported.serve(values).numpy()


for length in (None, 3):
    for rows in (1, 2):
        predicted, exported = answers(length, rows)
        name = f"{'fixed' if length else 'free'} length, {rows} row{'s' * (rows > 1)}"
        figures = [[round(each) for each in array.ravel().tolist()] for array in (predicted, exported)]
        print(f"{name:21} predict: {figures[0]!s:23} export: {figures[1]}")
        assert predicted.shape == (rows, 3, 1)
        assert exported.shape == (rows, length or rows, 1)
        assert np.array_equal(exported, predicted[:, : exported.shape[1]])
PYTHON
