#!/usr/bin/env bash
# Keras declares one data type for the output of a lookup layer and answers with another.
#
# Guess:     `model.outputs[0].dtype` is the type of the answers; Keras builds a model from such declarations.
# Fact:      StringLookup(invert=True), which maps class numbers back to names, declares int64 and answers text.
#            IntegerLookup(output_mode="multi_hot") declares float32 and answers int64. Nothing converts or warns.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28)
#            StringLookup, invert      declared int64    predicted text: cat, dog
#            IntegerLookup, multi_hot  declared float32  predicted int64: 0, 1, 0
# Relevance: a model server publishes the types of its outputs (the metadata of the Open Inference Protocol), and a
#            client allocates by them. They must come from an answer, not from the model.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
import keras
import numpy as np

layers = keras.layers
names = keras.Sequential([keras.Input((), dtype="int64"), layers.StringLookup(vocabulary=["cat", "dog"], invert=True)])
text = [each.decode() if isinstance(each, bytes) else each for each in names.predict(np.array([1, 2]), verbose=0)]
print(f"StringLookup, invert      declared {names.outputs[0].dtype:8} predicted text: {', '.join(text)}")
assert names.outputs[0].dtype == "int64"
assert text == ["cat", "dog"]

lookup = layers.IntegerLookup(vocabulary=[5, 7], output_mode="multi_hot")
flags = keras.Sequential([keras.Input((3,), dtype="int64"), lookup])
found = flags.predict(np.array([[5, 5, 5]]), verbose=0)
figures = ", ".join(str(each) for each in found.ravel())
print(f"IntegerLookup, multi_hot  declared {flags.outputs[0].dtype:8} predicted {found.dtype}: {figures}")
assert flags.outputs[0].dtype == "float32"
assert found.dtype == np.int64
PYTHON
