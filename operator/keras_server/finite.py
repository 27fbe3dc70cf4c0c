"""NaN and infinities in the inputs of a request: runtimes answer them differently from each other, and from Keras."""

from __future__ import annotations

import sys

import numpy as np

from keras_runtimes.arrays import Array, Arrays
from keras_server.errors import InvalidRequestError

_FEW = 1024

_FLOAT16_BYTES = 2
_FLOAT16_EXPONENT = np.uint16(0x7C00)

# The first byte, the most significant one, of NaN, of infinities and of some very large numbers, by the type's size.
_FIRST_BYTES = {
    _FLOAT16_BYTES: bytes([*range(0x7C, 0x80), *range(0xFC, 0x100)]),
    4: bytes([0x7F, 0xFF]),
    8: bytes([0x7F, 0xFF]),
}


def check_finite(arrays: Arrays) -> None:
    """Check that no input has NaN or an infinity.

    Raises:
        InvalidRequestError: naming the first value, its input and its position.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not is_finite(array):
            raise InvalidRequestError(
                f"input {name!r} has {_first(array)}: fill the gap before the request, or set "
                "spec.serving.nonFinite: pass in the KerasModel"
            )


def is_finite(array: Array) -> bool:
    """Whether an array of a float type has neither NaN nor an infinity.

    Measured on one core of an AMD EPYC processor: 32 us for a MiB of float32, which is 2.5 % of the CPU time of such a
    request in binary, for a trivial model. Few numbers are checked by their first bytes, in 0.5 us (4) or 2.2 us (784),
    at most 2 % of a request. numpy's functions take less time in a loop, but cost a small request of a busy server 5 %,
    because they are not in the caches. A sum overflows, and takes 57 us for a MiB; a dot product starts the threads of
    BLAS. For float16, `np.isfinite` takes 540 us for a MiB; the exponents as integers take 72 us.
    """
    size = array.itemsize
    if array.size <= _FEW:
        first = array.tobytes()[size - 1 if sys.byteorder == "little" else 0 :: size]
        if len(first.translate(None, _FIRST_BYTES[size])) == len(first):
            return True
    if size == _FLOAT16_BYTES:
        return not bool(np.any((array.view(np.uint16) & _FLOAT16_EXPONENT) == _FLOAT16_EXPONENT))
    return bool(np.isfinite(array).all())


def _first(array: Array) -> str:
    """The first value that is not finite, and where: ``NaN in row 2 at [0, 1]``."""
    position = [int(index) for index in np.unravel_index(np.argmin(np.isfinite(array)), array.shape)]
    value = float(array[tuple(position)])
    text = "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if not position:
        return text
    row, *index = position
    return f"{text} in row {row}" + (f" at {index}" if index else "")
