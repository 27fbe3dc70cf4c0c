"""The sizes of free axes: which of them a model accepts, found by running it.

A model may take any number of steps or pixels, and yet fail below or above a size: a convolution needs a window, a
table of positions ends. The server rejects sizes outside the range that is found here.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Final, NamedTuple

from keras_api.manifest import ANY_SIZE, Tensor
from keras_api.memory import MIB

Shape = tuple[int, ...]

SIDES: Final = (
    64,
    96,
    128,
    224,
    256,
    299,
    512,
    32,
    16,
    *(75, 80, 100, 112, 150, 160, 192, 320, 384, 448, 480, 8, 4, 2, 1),
)
"""Sizes of a free axis of an image, in the order in which they are tried: few pixels are fast, and too few fail."""
LENGTHS: Final = (
    *(32, 64, 128, 256, 512, 1024, 2048, 4096, 16, 8, 4, 2, 1),
    *(size for size in range(3, 64) if size.bit_count() > 1),
    *(96, 100, 120, 144, 168, 200, 300, 336, 365, 400, 500, 600, 720, 800, 1000, 1600, 2000, 3000, 4000),
)
"""Sizes of a free axis of any other input (steps of a sequence), in the order in which they are tried."""

IMAGE_RANK = 4
# A model that takes more time or memory for a size is not asked about larger ones, and no model about more values in an
# input: these sizes count as accepted. Attention takes four times the memory for twice the length.
SLOW_SECONDS = 1.0
MAX_GROWTH_BYTES = 128 * MIB
MAX_VALUES = 1 << 22


class Sizes(NamedTuple):
    """Sizes of all free axes: of images, and of other inputs."""

    side: int
    length: int

    def of(self, tensor: Tensor) -> int:
        """The size of the free axes of an input."""
        return self.side if len(tensor.shape) >= IMAGE_RANK else self.length


class Range(NamedTuple):
    """Accepted sizes; None where no limit is known."""

    smallest: int | None
    largest: int | None


class Trial(NamedTuple):
    """Sizes to run a model with.

    Attributes:
        sizes: of all free axes.
        axis: name of an input and number of its axis that has another size, if there is one.
        size: of that axis.
    """

    sizes: Sizes
    axis: tuple[str, int] | None = None
    size: int = 0


@dataclass(frozen=True)
class AcceptedSizes:
    """The accepted sizes of free axes.

    Attributes:
        ranges: by the input's name and the number of the axis.
        ends: the smallest and the largest accepted sizes.
    """

    ranges: Mapping[tuple[str, int], Range] = field(default_factory=dict)
    ends: Sequence[Trial] = ()

    def limit(self, tensor: Tensor) -> Tensor:
        """An input with its accepted sizes, if it has free axes besides the batch."""
        if not has_free_axis(tensor):
            return tensor
        smallest, largest = [1], [ANY_SIZE]
        for axis, size in enumerate(tensor.shape[1:], 1):
            found = self.ranges.get((tensor.name, axis), Range(None, None) if size == ANY_SIZE else Range(size, size))
            smallest.append(found.smallest or 1)
            largest.append(ANY_SIZE if found.largest is None else found.largest)
        return Tensor(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, min_shape=smallest, max_shape=largest)


def has_free_axis(tensor: Tensor) -> bool:
    """Whether an axis besides the batch may have any size."""
    return ANY_SIZE in tensor.shape[1:]


def shape_of(tensor: Tensor, rows: int, sizes: Sizes) -> Shape:
    """The shape of an input for a number of rows and sizes of its free axes."""
    return (rows, *(sizes.of(tensor) if size == ANY_SIZE else size for size in tensor.shape[1:]))


def sizes_of(tensors: Sequence[Tensor], shapes: Mapping[str, Shape]) -> Sizes:
    """The sizes of free axes of arrays: the first of each kind."""
    side, length = SIDES[0], LENGTHS[0]
    for tensor in reversed(tensors):
        for size, declared in zip(shapes[tensor.name][1:], tensor.shape[1:], strict=True):
            if declared != ANY_SIZE:
                continue
            if len(tensor.shape) >= IMAGE_RANK:
                side = size
            else:
                length = size
    return Sizes(side, length)


def candidates(tensors: Sequence[Tensor]) -> Iterator[Sizes]:
    """Sizes to try for a model's inputs, the most likely first."""
    images, others = (
        any(has_free_axis(tensor) for tensor in tensors if (len(tensor.shape) >= IMAGE_RANK) is image)
        for image in (True, False)
    )
    for length, side in product(LENGTHS if others else LENGTHS[:1], SIDES if images else SIDES[:1]):
        yield Sizes(side, length)


def other_sizes(good: Sizes) -> Iterable[Sizes]:
    """Second sizes to compare on, since a conversion may have fixed the first ones."""
    for numerator, denominator in ((3, 2), (2, 1), (1, 2), (3, 1), (5, 4)):
        yield Sizes(*(max(1, size * numerator // denominator) for size in good))


def accepted_sizes(
    tensors: Sequence[Tensor], good: Sizes, accepts: Callable[[Trial], bool], confirms: Callable[[Trial], bool]
) -> AcceptedSizes:
    """The ranges of sizes that a model accepts around good ones.

    Each axis varies alone. Where the model accepts no other size so, since two inputs must have equal lengths for
    example, all axes of its kind vary together.

    Args:
        tensors: the model's inputs.
        good: sizes that it accepts.
        accepts: runs the model with sizes.
        confirms: the same with more certainty, and slower.
    """
    ranges: dict[tuple[str, int], Range] = {}
    ends: list[Trial] = []
    for tensor in tensors:
        for axis in (axis for axis, size in enumerate(tensor.shape) if axis and size == ANY_SIZE):
            vary = partial(_alone, good, (tensor.name, axis))
            start = good.of(tensor)
            if not any(accepts(vary(size)) for size in (2 * start, start + 1, start // 2, start - 1) if size > 0):
                vary = partial(_together, good, tensor)
            image = len(tensor.shape) >= IMAGE_RANK
            highest = max(SIDES if image else LENGTHS)
            while highest > start and _values(tensor, highest) > MAX_VALUES:
                highest //= 2
            probes = SIDES if image else LENGTHS

            def accepts_size(size: int, vary: Callable[[int], Trial] = vary) -> bool:
                return accepts(vary(size))

            def confirms_size(size: int, vary: Callable[[int], Trial] = vary) -> bool:
                return accepts(vary(size)) and confirms(vary(size))

            found = _range(start, highest, probes, accepts_size, confirms_size)
            ranges[tensor.name, axis] = found
            ends += [vary(size) for size in found if size not in (None, start)]
    return AcceptedSizes(ranges, list(dict.fromkeys(ends)))


def _alone(good: Sizes, axis: tuple[str, int], size: int) -> Trial:
    return Trial(good, axis, size)


def _together(good: Sizes, tensor: Tensor, size: int) -> Trial:
    return Trial(good._replace(side=size) if len(tensor.shape) >= IMAGE_RANK else good._replace(length=size))


def _values(tensor: Tensor, size: int) -> int:
    """The values of one row of an input whose free axes all have a size."""
    return math.prod(shape_of(tensor, 1, Sizes(size, size)))


def _range(
    good: int,
    highest: int,
    probes: Sequence[int],
    accepts: Callable[[int], bool],
    confirms: Callable[[int], bool],
) -> Range:
    """The range of sizes around a good one.

    Some models accept certain sizes only, such as multiples of 32: a limit counts if no probe beyond it is accepted.
    """
    factors = range(2, 17)
    probes = (*probes, *(good * factor for factor in factors), *(good // factor for factor in factors))
    smallest: int | None = 1 if good == 1 or accepts(1) else _border(1, good, accepts)
    if any(confirms(size) for size in probes if smallest and 0 < size < smallest):
        smallest = None
    size, seconds, peak = good, 0.0, _peak_bytes()
    while 2 * size <= highest and seconds < SLOW_SECONDS:
        began = time.perf_counter()
        if not accepts(2 * size):
            largest = _border(2 * size, size, accepts)
            limited = not any(confirms(size) for size in probes if largest < size <= highest)
            return Range(smallest, largest if limited else None)
        size, seconds = 2 * size, time.perf_counter() - began
        if _peak_bytes() - peak > MAX_GROWTH_BYTES:
            break
    return Range(smallest, None)


def _peak_bytes() -> int:
    """The largest resident memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _border(rejected: int, accepted: int, accepts: Callable[[int], bool]) -> int:
    """The accepted size next to the rejected ones, by bisection."""
    while abs(accepted - rejected) > 1:
        middle = (accepted + rejected) // 2
        if accepts(middle):
            accepted = middle
        else:
            rejected = middle
    return accepted
