"""The golden rows: a few inputs with Keras's answers, by which every server proves itself before it turns ready."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_pipeline.arrays import Arrays

ROWS = 8


def write(path: Path, inputs: Arrays, outputs: Arrays) -> None:
    """Write `golden.npz` (see keras_api.manifest): arrays `input:<name>` and `output:<name>`, no pickles."""
    arrays = {f"input:{name}": array for name, array in inputs.items()}
    arrays |= {f"output:{name}": array for name, array in outputs.items()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
