#!/usr/bin/env bash
# After a resume by BackupAndRestore, ModelCheckpoint(save_best_only=True) overwrites the best model with a worse one.
#
# Guess:     BackupAndRestore restores the state of training, and so the best value that ModelCheckpoint and
#            EarlyStopping have seen.
# Fact:      it restores the weights, the optimizer and the epoch. Both callbacks begin again: the first epoch after the
#            resume is "the best so far", and the patience of EarlyStopping counts from there.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28; val_loss given as 0.5, 0.2, 0.9, 0.8, 0.8, ...; patience 3; interrupted before epoch 3)
#            without interruption: the best file is of epoch 1 (val_loss 0.2), the last epoch is 4
#            with interruption:    the best file is of epoch 3 (val_loss 0.8), the last epoch is 6
# Relevance: a training Job that was preempted publishes the worse model, and a Job that is preempted more often than
#            its patience never stops early. `initial_value_threshold` helps only if the value was kept elsewhere.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
import keras
import numpy as np

rows = np.random.rand(32, 4).astype("float32")
losses = [0.5, 0.2, 0.9] + [0.8] * 17
callbacks = keras.callbacks


class Interruption(Exception):
    pass


class Validation(callbacks.Callback):
    """Gives each epoch its loss, and the model the number of the epoch as its weight."""

    def __init__(self, interrupted):
        super().__init__()
        self.interrupted, self.last = interrupted, None

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.interrupted:
            raise Interruption

    def on_epoch_end(self, epoch, logs):
        self.last = epoch
        self.model.layers[0].bias.assign([epoch])
        logs["val_loss"] = losses[epoch]


def train(folder, interrupted=None):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    validation = Validation(interrupted)
    best = f"{folder}/best.keras"
    used = [
        validation,
        callbacks.ModelCheckpoint(best, monitor="val_loss", save_best_only=True),
        callbacks.EarlyStopping(monitor="val_loss", patience=3),
        callbacks.BackupAndRestore(f"{folder}/backup"),
    ]
    model.fit(rows, rows.sum(axis=1), epochs=20, verbose=0, callbacks=used)
    return round(keras.saving.load_model(best).layers[0].bias.numpy().item()), validation.last


plain = train("plain")
try:
    train("interrupted", interrupted=3)
except Interruption:
    pass
resumed = train("interrupted")
for name, (best, last) in (("without interruption:", plain), ("with interruption:", resumed)):
    print(f"{name:21} the best file is of epoch {best} (val_loss {losses[best]}), the last epoch is {last}")
assert plain == (1, 4)
assert resumed == (3, 6)
PYTHON
