#!/usr/bin/env bash
# `image_dataset_from_directory` takes the folder lost+found of a volume as a class of pictures.
#
# Guess:     folders without a picture are no classes; the function prints the number of files that it found.
# Fact:      every folder whose name does not begin with a dot is a class, if empty or not. `lost+found` and
#            `__pycache__` count, `..data` and `.ipynb_checkpoints` do not. The labels of the classes behind them move
#            by one.
# Versions:  keras 3.15.1, tensorflow-cpu 2.21.0
# Output:    (2026-11-28; two pictures each in cats and owls)
#            Found 4 files belonging to 4 classes.
#            classes: __pycache__, cats, lost+found, owls
#            labels:  1, 1, 3, 3
# Relevance: a new PersistentVolume with ext4 has lost+found at its root, where the data are mounted. A model trained
#            there has more outputs than classes, and one trained on a laptop has other labels. Pass class_names.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6

run - << 'PYTHON'
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

volume = Path("volume")
for name in ("cats", "owls", "lost+found", "__pycache__", "..2026_11_28", ".ipynb_checkpoints"):
    (volume / name).mkdir(parents=True)
(volume / "..data").symlink_to("..2026_11_28")
for name in ("cats", "owls"):
    for number in range(2):
        tf.io.write_file(str(volume / name / f"{number}.png"), tf.io.encode_png(np.zeros((8, 8, 3), "uint8")))

data = keras.utils.image_dataset_from_directory(str(volume), image_size=(8, 8), shuffle=False)
labels = [int(label) for _, batch in data for label in batch]
print("classes:", ", ".join(data.class_names))
print("labels: ", ", ".join(map(str, labels)))
assert data.class_names == ["__pycache__", "cats", "lost+found", "owls"]
assert labels == [1, 1, 3, 3]
PYTHON
