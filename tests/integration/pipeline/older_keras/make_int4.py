"""Writes int4.keras.gz: `python make_int4.py`, in an environment with Keras 3.12 and TensorFlow.

Keras 3.12 packs two int4 values along another axis than later versions, and no version converts them.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import keras

if __name__ == "__main__":
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(4, name="hidden")])
    model.quantize("int4")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.keras")
        model.save(file)
        Path(__file__).with_name("int4.keras.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))
