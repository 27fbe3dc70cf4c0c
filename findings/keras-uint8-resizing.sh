#!/usr/bin/env bash
# Keras's Resizing of uint8 pictures rounds when the model is called, and does not in `predict` and in the exported
# model.
#
# Guess:     `model(x)` and `model.predict(x)` differ by rounding errors of 1e-6 at most.
# Fact:      `model(x)` answers whole numbers of type uint8. `predict` and the exported model answer float32 with
#            fractions: a third of a grey level of difference here, in the input of all layers that follow.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28; 4 x 4 pixels to 6 x 6, bilinear)
#            model(x)  uint8    0 5 12 18 25 30
#            predict   float32  0 5 11.6667 18.3333 25 30
#            export    float32  0 5 11.6667 18.3333 25 30
#            largest difference 0.3333
# Relevance: a test that compares a served image model with `model(x)` fails, or needs a tolerance that hides real
#            errors. `predict` is the reference that agrees with what is served.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
import keras
import numpy as np
import tensorflow as tf

model = keras.Sequential([keras.Input((4, 4, 1), dtype="uint8"), keras.layers.Resizing(6, 6)])
picture = np.arange(0, 160, 10, dtype="uint8").reshape(1, 4, 4, 1)
model.export("exported", verbose=False)
exported = tf.saved_model.load("exported")
found = {
    "model(x)": model(picture).numpy(),
    "predict": model.predict(picture, verbose=0),
    "export": exported.serve(picture).numpy(),
}
for name, answer in found.items():
    print(f"{name:9} {answer.dtype!s:8}", *(f"{each:.6g}" for each in answer.ravel()[:6]))
difference = np.abs(found["model(x)"].astype("float32") - found["predict"]).max()
print(f"largest difference {difference:.4f}")
assert [answer.dtype.name for answer in found.values()] == ["uint8", "float32", "float32"]
assert np.array_equal(found["predict"], found["export"])
assert 0.3 < difference < 0.5
PYTHON
