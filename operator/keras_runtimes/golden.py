"""The golden rows: a few inputs with Keras's answers, against which every server checks itself before it is ready.

`golden.npz` holds arrays `input:<name>` and `output:<name>`, no pickles; strings are numpy unicode arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_api.manifest import GOLDEN_NAME, ModelSummary, Tensor
from keras_runtimes.arrays import NUMPY_DTYPES, Array, Arrays, string_array

_INPUT, _OUTPUT = "input:", "output:"


class GoldenError(Exception):
    """A golden file that cannot be used; the text gives the reason."""


@dataclass(frozen=True)
class Golden:
    """Inputs and the outputs that Keras gave for them, by name; all with the same number of rows."""

    inputs: Arrays
    outputs: Arrays


def write_golden(bundle: Path, inputs: Arrays, outputs: Arrays) -> None:
    """Write the golden file of a bundle.

    Args:
        bundle: the bundle's folder.
        inputs: arrays by the input's name, strings as numpy unicode arrays.
        outputs: the same of the outputs.
    """
    arrays = {f"{_INPUT}{name}": array for name, array in inputs.items()}
    arrays |= {f"{_OUTPUT}{name}": array for name, array in outputs.items()}
    with (bundle / GOLDEN_NAME).open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_golden(bundle: Path, model: ModelSummary) -> Golden:
    """The golden inputs and outputs of a bundle, strings as `bytes`.

    Raises:
        GoldenError: the file cannot be read, or has no array of one of the model's tensors.
    """
    try:
        with np.load(bundle / GOLDEN_NAME, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        return Golden(_typed(_INPUT, model.inputs, arrays), _typed(_OUTPUT, model.outputs, arrays))
    except KeyError as error:
        raise GoldenError(f"{GOLDEN_NAME} in {bundle} has no array {error.args[0]!r}") from error
    except Exception as error:  # numpy, zipfile and zlib raise all kinds for a broken archive
        raise GoldenError(f"cannot read {GOLDEN_NAME} in {bundle}: {error}") from error


def _typed(prefix: str, tensors: Iterable[Tensor], arrays: Arrays) -> dict[str, Array]:
    typed = {}
    for tensor in tensors:
        array = arrays[f"{prefix}{tensor.name}"]
        if tensor.dtype == "string":
            array = string_array(array)
        elif array.dtype != NUMPY_DTYPES[tensor.dtype]:
            raise ValueError(f"{prefix}{tensor.name} is {array.dtype}; the manifest declares {tensor.dtype}")
        typed[tensor.name] = array
    return typed
