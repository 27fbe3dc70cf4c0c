#!/usr/bin/env bash
# Keras declares the product of a number and a dense tensor as sparse, in both orders, and answers with a dense one.
#
# Guess:     2.0 * x has the sparseness of x, as 1.0 + x has. A model that declares a sparse output answers with one.
# Fact:      the declared output of a multiplication is sparse if one operand is, and a Python number counts as sparse,
#            because it has no attribute `sparse`. What the model computes is dense.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0, numpy 2.4.6
# Output:    (2026-11-28)
#            2.0 * x  declared sparse  answered dense
#            x * 2.0  declared sparse  answered dense
#            1.0 + x  declared dense   answered dense
#            x / 2.0  declared dense   answered dense
#            x        declared dense   answered dense
# Relevance: a program that inspects models before it serves them, and rejects sparse outputs because its protocol has
#            none, rejects every model that ends with a scaling.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
import keras
import numpy as np
import tensorflow as tf

x = keras.Input((3,), name="x")
declared = {"2.0 * x": 2.0 * x, "x * 2.0": x * 2.0, "1.0 + x": 1.0 + x, "x / 2.0": x / 2.0, "x": x}
answers = {}
for name, output in declared.items():
    answer = keras.Model(x, output)(np.ones((1, 3), "float32"))
    answers[name] = isinstance(answer, tf.SparseTensor)
    print(f"{name:8} declared {'sparse' if output.sparse else 'dense':7} answered {'sparse' if answers[name] else 'dense'}")
assert [output.sparse for output in declared.values()] == [True, True, False, False, False]
assert not any(answers.values())
PYTHON
