#!/usr/bin/env bash
# `fit` ignores a class_weight with string keys, such as one read from JSON, if the data are arrays.
#
# Guess:     class_weight={"0": 1, "1": 9} is understood or refused.
# Fact:      with arrays it trains as if there were no class weights, without a warning. The same dictionary with a
#            tf.data.Dataset raises TypeError.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28; loss of the first batch, half of its rows in class 1)
#            arrays,  none          0.8120
#            arrays,  integer keys  5.5789
#            arrays,  string keys   0.8120
#            dataset, integer keys  5.5789
#            dataset, string keys   TypeError
# Relevance: settings of a training Job come from JSON or YAML in a resource or ConfigMap, and JSON has string keys
#            only. The rare class that the weights were for is then trained like all others.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
import json

import keras
import numpy as np
import tensorflow as tf


def loss(weights, *, as_dataset=False):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    rows, labels = np.random.rand(8, 4).astype("float32"), np.array([0, 1] * 4)
    data = (tf.data.Dataset.from_tensor_slices((rows, labels)).batch(8),) if as_dataset else (rows, labels)
    return model.fit(*data, batch_size=None if as_dataset else 8, class_weight=weights, verbose=0).history["loss"][0]


integers = {0: 1, 1: 9}
strings = json.loads(json.dumps(integers))
plain, weighted, ignored = loss(None), loss(integers), loss(strings)
dataset = loss(integers, as_dataset=True)
try:
    refused = loss(strings, as_dataset=True)
except TypeError:
    refused = "TypeError"
print(f"arrays,  none          {plain:.4f}")
print(f"arrays,  integer keys  {weighted:.4f}")
print(f"arrays,  string keys   {ignored:.4f}")
print(f"dataset, integer keys  {dataset:.4f}")
print(f"dataset, string keys   {refused}")
assert weighted > 2 * plain
assert abs(dataset - weighted) < 1e-3
assert ignored == plain
assert refused == "TypeError"
PYTHON
