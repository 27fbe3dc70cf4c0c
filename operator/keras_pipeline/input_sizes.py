"""The sizes of free axes: which of them a model accepts, found by running it.

A model may take any number of steps or pixels, and yet fail below or above a size: a convolution needs a window, a
table of positions ends. The server rejects sizes outside the range that is found here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

from keras_api.manifest import ANY_SIZE, Tensor

Shape = tuple[int, ...]

SIDES: Final = (64, 96, 128, 224, 256, 299, 512, 32, 16)
"""Sizes of a free axis of an image, in the order in which they are tried: few pixels are fast, and too few fail."""
LENGTHS: Final = (32, 64, 128, 256, 512, 1024, 2048, 4096, 16, 8, 4, 2, 1)
"""Sizes of a free axis of any other input (steps of a sequence), in the order in which they are tried."""

IMAGE_RANK = 4
# A model that takes longer for a size is not asked about larger ones, and no model about more values in an input: these
# sizes count as accepted.
SLOW_SECONDS = 1.0
MAX_VALUES = 1 << 22


class Sizes(NamedTuple):
    """Sizes of all free axes: of images, and of other inputs."""

    side: int
    length: int

    def of(self, tensor: Tensor) -> int:
        """The size of the free axes of an input."""
        return self.side if len(tensor.shape) >= IMAGE_RANK else self.length


class Range(NamedTuple):
    """Accepted sizes; `largest` is None where no limit is known."""

    smallest: int
    largest: int | None


@dataclass(frozen=True)
class AcceptedSizes:
    """The accepted sizes of the free axes of images and of other inputs."""

    sides: Range
    lengths: Range

    @classmethod
    def unlimited(cls) -> AcceptedSizes:
        """Any sizes: those of a model without free axes."""
        return cls(Range(1, None), Range(1, None))

    def contains(self, sizes: Sizes) -> bool:
        """Whether sizes are accepted."""
        return all(
            smallest <= size and (largest is None or size <= largest)
            for size, (smallest, largest) in zip(sizes, (self.sides, self.lengths), strict=True)
        )

    def ends(self, good: Sizes) -> list[Sizes]:
        """The smallest and the largest accepted sizes, one kind at a time, that differ from good ones."""
        return [
            sizes
            for smallest_or_largest in (0, 1)
            for sizes in (
                good._replace(side=self.sides[smallest_or_largest] or good.side),
                good._replace(length=self.lengths[smallest_or_largest] or good.length),
            )
            if sizes != good
        ]

    def limit(self, tensor: Tensor) -> Tensor:
        """An input with its accepted sizes, if it has free axes besides the batch."""
        if not has_free_axis(tensor):
            return tensor
        smallest, largest = self.sides if len(tensor.shape) >= IMAGE_RANK else self.lengths
        sizes = tensor.shape[1:]
        return Tensor(
            name=tensor.name,
            dtype=tensor.dtype,
            shape=tensor.shape,
            min_shape=[1, *(smallest if size == ANY_SIZE else size for size in sizes)],
            max_shape=[ANY_SIZE, *((largest or ANY_SIZE) if size == ANY_SIZE else size for size in sizes)],
        )


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


def accepted_sizes(tensors: Sequence[Tensor], good: Sizes, accepts: Callable[[Sizes], bool]) -> AcceptedSizes:
    """The range of sizes that a model accepts around good ones.

    Args:
        tensors: the model's inputs.
        good: sizes that it accepts.
        accepts: runs the model with sizes.
    """
    images = any(has_free_axis(tensor) for tensor in tensors if len(tensor.shape) >= IMAGE_RANK)
    others = any(has_free_axis(tensor) for tensor in tensors if len(tensor.shape) < IMAGE_RANK)

    def affordable(sizes: Sizes) -> bool:
        return max(math.prod(shape_of(tensor, 1, sizes)) for tensor in tensors) <= MAX_VALUES

    sides = lengths = Range(1, None)
    if images:
        largest = max(size for size in range(1, max(SIDES) + 1) if affordable(good._replace(side=size)))
        sides = _range(good.side, largest, lambda size: accepts(good._replace(side=size)))
    if others:
        largest = max(size for size in range(1, max(LENGTHS) + 1) if affordable(good._replace(length=size)))
        lengths = _range(good.length, largest, lambda size: accepts(good._replace(length=size)))
    return AcceptedSizes(sides, lengths)


def _range(good: int, highest: int, accepts: Callable[[int], bool]) -> Range:
    smallest = 1 if good == 1 or accepts(1) else _border(1, good, accepts)
    reached, size = good, good
    while size < highest:
        size = min(2 * size, highest)
        began = time.perf_counter()
        if not accepts(size):
            return Range(smallest, _border(size, reached, accepts))
        if time.perf_counter() - began > SLOW_SECONDS:
            break
        reached = size
    return Range(smallest, None)


def _border(rejected: int, accepted: int, accepts: Callable[[int], bool]) -> int:
    """The accepted size next to the rejected ones, by bisection."""
    while abs(accepted - rejected) > 1:
        middle = (accepted + rejected) // 2
        if accepts(middle):
            accepted = middle
        else:
            rejected = middle
    return accepted
