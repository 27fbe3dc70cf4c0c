#!/usr/bin/env bash
# With op determinism and a seed, TensorFlow still trains other weights for another number of threads.
#
# Guess:     tf.config.experimental.enable_op_determinism and a seed give the same weights, bit by bit, on one machine.
# Fact:      they do for one number of threads only. 1, 2 and 4 threads give three different weights of a small
#            convolutional network: the sums are split by the number of threads. The same number gives the same weights
#            again.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28; the digests depend on the CPU)
#            1 thread   63ab2c2bd7fd
#            2 threads  90cbf9ad8fa0
#            2 threads  90cbf9ad8fa0
#            4 threads  bdb0db5574b2
# Relevance: TensorFlow takes the number of threads from the CPUs that it sees. A training Job that is repeated on a
#            node of another size, or with another CPU set, gives a model with another digest. Record the number with
#            the model.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

for threads in 1 2 2 4; do
  run - "$threads" << 'PYTHON' >> digests
import hashlib
import sys

import keras
import numpy as np
import tensorflow as tf

threads = int(sys.argv[1])
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.experimental.enable_op_determinism()
keras.utils.set_random_seed(1)
layers = keras.layers
model = keras.Sequential(
    [
        keras.Input((16, 16, 3)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1),
    ]
)
model.compile("adam", "mse")
pictures = np.random.rand(1024, 16, 16, 3).astype("float32")
model.fit(pictures, pictures.mean(axis=(1, 2, 3)), epochs=2, batch_size=256, verbose=0)
print(threads, hashlib.sha256(b"".join(each.tobytes() for each in model.get_weights())).hexdigest()[:12])
PYTHON
done

run - << 'PYTHON'
from pathlib import Path

found = [line.split() for line in Path("digests").read_text().splitlines()]
for threads, digest in found:
    print(f"{threads} thread{' ' if threads == '1' else 's'}  {digest}")
one, two, again, four = (digest for _, digest in found)
assert two == again, "not repeatable"
assert len({one, two, four}) == 3, "the number of threads makes no difference"
PYTHON
