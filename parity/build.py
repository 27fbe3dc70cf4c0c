"""Makes cases of operations and layers on whole arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_runtimes.arrays import Array
from parity.edges import Keep, dense, tensors
from parity.model import Case, InputSpec, Probe

Shape = tuple[int | None, ...]

ROWS = 3
FREE = 5
"""Size of free axes, where the probes do not try several."""

KINDS = ("zero", "negative", "tiny", "large", "huge", "NaN", "infinity")


def whole(
    subject: str,
    variant: str,
    function: Callable[..., Any],
    shapes: Sequence[Shape],
    dtypes: Sequence[str] | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    keep: Keep | None = None,
    edge: Sequence[int] = (0,),
    ids: Mapping[int, int] | None = None,
    each: Iterable[int] | None = None,
    extra: Callable[[], Iterable[Probe]] = tuple,
    free: int = FREE,
) -> Case:
    """A case whose inputs are whole arrays.

    Args:
        subject: as in the case.
        variant: as in the case.
        function: as in the case.
        shapes: of the inputs without the batch; None is a free size.
        dtypes: of the inputs; default float32.
        kinds: of edge values to try.
        keep: which values are in the domain, as a mask.
        edge: positions of the inputs that get edge values.
        ids: number of valid ids, by the position of an input of ids. The borders are tried, too.
        each: sizes of the free axes to try; default 0, 1, 2 and 9.
        extra: makes further probes.
        free: size of the free axes in the other probes.
    """
    types = tuple(dtypes or ["float32"] * len(shapes))
    is_free = any(None in shape for shape in shapes)
    ids = ids or {}

    def sized(size: int) -> list[tuple[int, ...]]:
        return [(ROWS, *(size if axis is None else axis for axis in shape)) for shape in shapes]

    def probes() -> list[Probe]:
        made = tensors(sized(free), types, keep=keep, kinds=kinds, edge=[place for place in edge if place not in ids])
        for size in (each if each is not None else (0, 1, 2, 9)) if is_free else ():
            arrays = [dense(shape, dtype, keep, seed=size + 7) for shape, dtype in zip(sized(size), types, strict=True)]
            made.append(Probe("empty" if size == 0 else f"size {size}", tuple(arrays)))
        made = [_with_ids(probe, ids) for probe in made]
        for place, count in ids.items():
            for border in (-1, 0, count - 1, count):
                made.append(_with_border(made[0], place, border, f"id {_border(border, count)}"))
        return [*made, *extra()]

    specs = tuple(InputSpec(shape, dtype) for shape, dtype in zip(shapes, types, strict=True))
    return Case(subject, variant, specs, function, probes)


def pictures(
    subject: str,
    variant: str,
    function: Callable[..., Any],
    *,
    free: bool = True,
    channels_first: bool = False,
    dtype: str = "float32",
    depth: int = 3,
    each: Sequence[tuple[int, int]] = ((8, 8), (9, 12), (17, 5), (32, 33), (1, 7)),
    kinds: Sequence[str] = ("zero", "negative", "NaN", "infinity"),
) -> Case:
    """A case whose input is a picture with values from 0 to 255.

    Args:
        subject: as in the case.
        variant: as in the case.
        function: as in the case.
        free: whether height and width are free; else they are those of the first size.
        channels_first: whether the channels are the first axis after the batch.
        dtype: of the input.
        depth: number of channels.
        each: heights and widths to try.
        kinds: of edge values to try.
    """
    tried = list(each if free else each[:1])

    def shape(height: int | None, width: int | None) -> Shape:
        return (depth, height, width) if channels_first else (height, width, depth)

    def picture(height: int, width: int) -> Array:
        random = np.random.default_rng([height, width])
        return random.integers(0, 256, (2, *shape(height, width))).astype(dtype)  # type: ignore[arg-type]

    def probes() -> list[Probe]:
        made = [Probe(f"{height} x {width}", (picture(height, width),)) for height, width in tried]
        for probe in tensors([made[0].inputs[0].shape], [dtype], kinds=kinds)[1:]:
            made.append(probe)
        return made

    spec = InputSpec(shape(None, None) if free else shape(*tried[0]), dtype)
    return Case(subject, f"{variant}, {dtype}" if dtype != "float32" else variant, (spec,), function, probes)


def _border(border: int, count: int) -> str:
    return {count - 1: "n - 1", count: "n"}.get(border, str(border))


def _with_ids(probe: Probe, ids: Mapping[int, int]) -> Probe:
    """Valid ids in the inputs of ids."""
    arrays = list(probe.inputs)
    for place, count in ids.items():
        random = np.random.default_rng(11)
        arrays[place] = random.integers(0, count, arrays[place].shape).astype(arrays[place].dtype)
    return Probe(probe.kind, tuple(arrays))


def _with_border(probe: Probe, place: int, border: int, kind: str) -> Probe:
    arrays = list(probe.inputs)
    ids = arrays[place].copy()
    if ids.dtype.kind == "u" and border < 0:
        return Probe("id 0", tuple(arrays))
    ids.reshape(len(ids), -1)[:, 0] = border
    arrays[place] = ids
    return Probe(kind, tuple(arrays))
