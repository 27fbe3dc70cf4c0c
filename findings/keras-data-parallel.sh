#!/usr/bin/env bash
# Keras accepts DataParallel on the TensorFlow backend for two devices, and trains on one of them.
#
# Guess:     keras.distribution.DataParallel(devices=[...]) splits each batch between the devices, or raises where the
#            backend cannot do that.
# Fact:      on TensorFlow set_distribution succeeds, and every batch goes whole to one device, without a warning.
#            tf.distribute.MirroredStrategy splits the batches on the same devices.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28; a batch of 8 rows, two logical CPU devices)
#            devices           cpu:0, cpu:1
#            DataParallel      batches of 8 rows
#            MirroredStrategy  batches of 4, 4 rows
# Relevance: a training Job that asks for several devices pays for all and uses one; nothing in Keras's log shows it.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
import keras
import numpy as np
import tensorflow as tf

(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
devices = keras.distribution.list_devices()
print("devices          ", ", ".join(devices))
assert devices == ["cpu:0", "cpu:1"]
sizes = []


class Record(keras.layers.Layer):
    def call(self, inputs):
        tf.py_function(lambda rows: sizes.append(len(rows)), [inputs], [])
        return inputs


def build():
    model = keras.Sequential([keras.Input((4,)), Record(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    return model


def batches(model):
    sizes.clear()
    model.fit(np.zeros((8, 4)), np.zeros((8, 2)), batch_size=8, verbose=0)
    return list(sizes)


keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
parallel = batches(build())
print("DataParallel      batches of", ", ".join(map(str, parallel)), "rows")
keras.distribution.set_distribution(None)

with tf.distribute.MirroredStrategy(devices).scope():
    model = build()
mirrored = batches(model)
print("MirroredStrategy  batches of", ", ".join(map(str, mirrored)), "rows")
assert parallel == [8]
assert mirrored == [4, 4]
PYTHON
