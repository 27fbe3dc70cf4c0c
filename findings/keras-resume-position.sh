#!/usr/bin/env bash
# A `fit` that BackupAndRestore resumes inside an epoch trains the batches since the epoch's start a second time.
#
# Guess:     BackupAndRestore(save_freq=5) goes on at the batch of the last backup, so that a run with an interruption
#            takes as many steps as one without.
# Fact:      the weights, the optimizer and its step count are those of the backup, but `fit` begins the epoch again at
#            batch 0. Batches are trained twice, learning-rate schedules run ahead, and the run takes more steps.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28; 3 epochs of 10 batches, interrupted after 15 batches)
#            without interruption: 30 steps of the optimizer
#            resumed: begins at batch 0 of epoch 1, with the weights of step 15
#            with interruption:    35 steps of the optimizer
# Relevance: training Jobs on nodes that can be preempted make backups inside long epochs. A Job that is preempted once
#            per epoch trains the first batches of the epoch more often than the last ones.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
import keras
import numpy as np

rows = np.random.rand(320, 4).astype("float32")
callbacks = keras.callbacks


class Interruption(Exception):
    pass


class Interrupt(callbacks.Callback):
    """Ends `fit` after `after` batches, and records where it began."""

    def __init__(self, after=None):
        super().__init__()
        self.after, self.batches, self.epoch, self.began = after, 0, None, None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self.began is None:
            self.began = self.epoch, batch, int(self.model.optimizer.iterations.numpy())

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == self.after:
            raise Interruption


def train(*extra):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(rows, rows.sum(axis=1), batch_size=32, epochs=3, verbose=0, callbacks=list(extra))
    return int(model.optimizer.iterations.numpy())


plain = train()
print(f"without interruption: {plain} steps of the optimizer")
try:
    train(callbacks.BackupAndRestore("backup", save_freq=5), Interrupt(after=15))
except Interruption:
    pass
record = Interrupt()
resumed = train(callbacks.BackupAndRestore("backup", save_freq=5), record)
epoch, batch, step = record.began
print(f"resumed: begins at batch {batch} of epoch {epoch}, with the weights of step {step}")
print(f"with interruption:    {resumed} steps of the optimizer")
assert plain == 30
assert (epoch, batch, step) == (1, 0, 15)
assert resumed == 35
PYTHON
