"""Layers of keras.layers on pictures, volumes and series: convolutions, pooling, padding, cropping, sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import layers

from parity.build import pictures, whole
from parity.cases.basic_layers import lay
from parity.model import Case, InputSpec, Probe

Function = Callable[..., Any]
FORMATS = ("channels_last", "channels_first")
EDGES = ("zero", "large", "NaN", "infinity")
SIDES = ((8, 8), (9, 12), (17, 5))
SHAPES: dict[int, tuple[Any, ...]] = {1: (8, 4), 2: (6, 7, 4), 3: (4, 5, 6, 4)}
FREE: dict[int, tuple[Any, ...]] = {1: (None, 4), 2: (None, None, 4), 3: (None, None, None, 4)}
SOURCES = (*range(8, 65), *range(66, 257, 3), *range(257, 513, 5), 512)
TARGETS = (32, 48, 96, 224, 299)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _convolutions()
    yield from _pooling()
    yield from _borders()
    yield from _sizes()


def _shape(rank: int, data_format: str, *, free: bool = False) -> tuple[Any, ...]:
    shape = (FREE if free else SHAPES)[rank]
    return shape if data_format == "channels_last" else (shape[-1], *shape[:-1])


def _layer(
    name: str, words: str, rank: int, options: dict[str, Any], *, free: bool = False, kinds: Any = EDGES
) -> Case:
    shape = _shape(rank, options.get("data_format", "channels_last"), free=free)
    layer = getattr(layers, name)
    return whole(f"layers.{name}", words, lay(layer, **options), (shape,), kinds=kinds, free=7, each=(5, 8))


def _convolutions() -> Iterator[Case]:
    names = ["Conv", "SeparableConv", "DepthwiseConv", "Transpose"]
    for rank, kind in itertools.product((1, 2, 3), names):
        if rank == 3 and kind in {"SeparableConv", "DepthwiseConv"}:
            continue
        name = f"Conv{rank}DTranspose" if kind == "Transpose" else f"{kind}{rank}D"
        base: dict[str, Any] = {"kernel_size": 3} if kind == "DepthwiseConv" else {"filters": 2, "kernel_size": 3}
        paddings = ("valid", "same", "causal") if name == "Conv1D" else ("valid", "same")
        for data_format, padding, strides, dilation in itertools.product(FORMATS, paddings, (1, 2), (1, 2)):
            if strides > 1 and dilation > 1:
                continue
            if padding == "causal" and data_format == "channels_first":
                continue
            options = {
                **base,
                "padding": padding,
                "strides": strides,
                "dilation_rate": dilation,
                "data_format": data_format,
            }
            words = f"{data_format}, {padding}, strides={strides}, dilation={dilation}"
            yield _layer(name, words, rank, options, kinds=EDGES if (strides, dilation) == (1, 1) else ())
        for padding, strides in itertools.product(("valid", "same"), (1, 2)):
            options = {**base, "padding": padding, "strides": strides}
            yield _layer(name, f"free sides, {padding}, strides={strides}", rank, options, free=True, kinds=())
        yield _layer(name, "activation=relu", rank, {**base, "activation": "relu"}, kinds=EDGES)
        yield _layer(name, "mixed_float16", rank, {**base, "dtype": "mixed_float16"}, kinds=("large",))
        if kind == "Conv":
            for data_format in FORMATS:
                options = {**base, "groups": 2, "data_format": data_format}
                yield _layer(name, f"groups=2, {data_format}", rank, options)
                yield _layer(name, f"groups=2, {data_format}, free sides", rank, options, free=True, kinds=())
        if kind == "DepthwiseConv":
            yield _layer(name, "depth_multiplier=2", rank, {**base, "depth_multiplier": 2})
        if kind == "Transpose":
            yield _layer(name, "output_padding=1", rank, {**base, "strides": 2, "output_padding": 1}, kinds=())
    yield _layer(
        "Conv2D", "strides=(2, 1)", 2, {"filters": 2, "kernel_size": (3, 2), "strides": (2, 1), "padding": "same"}
    )


def _pooling() -> Iterator[Case]:
    for rank, kind, data_format in itertools.product((1, 2, 3), ("Max", "Average"), FORMATS):
        for padding, strides in itertools.product(("valid", "same"), (None, 1, 3)):
            words = f"{data_format}, {padding}, strides={strides}"
            options = {"pool_size": 2, "strides": strides, "padding": padding, "data_format": data_format}
            yield _layer(f"{kind}Pooling{rank}D", words, rank, options)
        if data_format == "channels_last":
            options = {"pool_size": 2, "padding": "same"}
            yield _layer(f"{kind}Pooling{rank}D", "free sides, same", rank, options, free=True, kinds=())
        for keepdims in (False, True):
            words = f"{data_format}, keepdims={keepdims}"
            options = {"data_format": data_format, "keepdims": keepdims}
            yield _layer(f"Global{kind}Pooling{rank}D", words, rank, options)
        shape = _shape(rank, data_format, free=True)
        layer = lay(getattr(layers, f"Global{kind}Pooling{rank}D"), data_format=data_format)
        yield whole(
            f"layers.Global{kind}Pooling{rank}D",
            f"{data_format}, free sides",
            layer,
            (shape,),
            each=(0, 1, 4),
            kinds=EDGES,
        )
        for size in (1, 3):
            options = {"output_size": size, "data_format": data_format}
            yield _layer(f"Adaptive{kind}Pooling{rank}D", f"{data_format}, {size}", rank, options)
            options = {"output_size": size}
        if data_format == "channels_last":
            yield _layer(f"Adaptive{kind}Pooling{rank}D", "free sides, 3", rank, options, free=True, kinds=())
    masked = lambda x: layers.GlobalAveragePooling1D()(layers.Masking()(x))  # noqa: E731
    yield whole("layers.GlobalAveragePooling1D", "after Masking", masked, ((None, 4),), kinds=("zero",))


def _borders() -> Iterator[Case]:
    for rank, data_format in itertools.product((2, 3), FORMATS):
        for free in (False, True):
            words = f"{data_format}, {'free' if free else 'fixed'} sides"
            sides = tuple((index, 1) for index in range(rank))
            for name, argument in (("ZeroPadding", "padding"), ("Cropping", "cropping")):
                options = {argument: sides, "data_format": data_format}
                yield _layer(f"{name}{rank}D", f"{words}, {sides}", rank, options, free=free, kinds=("NaN",))
            yield _layer(
                f"UpSampling{rank}D", words, rank, {"size": 2, "data_format": data_format}, free=free, kinds=("NaN",)
            )
    for interpolation, size, data_format in itertools.product(
        ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"), ((2, 2), (3, 1)), FORMATS
    ):
        options = {"size": size, "data_format": data_format, "interpolation": interpolation}
        for free in (False, True):
            words = f"{interpolation}, {size}, {data_format}, {'free' if free else 'fixed'} sides"
            yield _layer("UpSampling2D", words, 2, options, free=free, kinds=("NaN",))
    yield _sweep("ZeroPadding2D", "sources 8..512, 3", lay(layers.ZeroPadding2D, 3), step=9)
    for size in (2, 3):
        yield _sweep("UpSampling2D", f"sources 8..512, {size}", lay(layers.UpSampling2D, size), step=9)
        yield _sweep(
            "UpSampling2D",
            f"sources 8..512, {size}, bilinear",
            lay(layers.UpSampling2D, size, interpolation="bilinear"),
            step=9,
        )


def _sizes() -> Iterator[Case]:
    methods = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
    for method, dtype in itertools.product(methods, ("float32", "uint8", "float16")):
        yield pictures("layers.Resizing", method, lay(layers.Resizing, 7, 11, interpolation=method), dtype=dtype)
    for method in methods:
        for data_format in FORMATS:
            options: dict[str, Any] = {"interpolation": method, "data_format": data_format}
            first = data_format == "channels_first"
            yield pictures(
                "layers.Resizing",
                f"{method}, {data_format}, fixed sides",
                lay(layers.Resizing, 7, 11, **options),
                channels_first=first,
                free=False,
            )
            if first:
                yield pictures(
                    "layers.Resizing",
                    f"{method}, {data_format}",
                    lay(layers.Resizing, 7, 11, **options),
                    channels_first=True,
                )
        yield pictures(
            "layers.Resizing", f"{method}, antialias", lay(layers.Resizing, 7, 11, interpolation=method, antialias=True)
        )
        for option in ("crop_to_aspect_ratio", "pad_to_aspect_ratio"):
            for free in (True, False):
                words = f"{method}, {option}, {'free' if free else 'fixed'} sides"
                function = lay(layers.Resizing, 7, 11, interpolation=method, **{option: True})
                yield pictures("layers.Resizing", words, function, free=free, kinds=())
        for target in TARGETS:
            yield _sweep(
                "Resizing",
                f"{method}, sources 8..512 to {target}",
                lay(layers.Resizing, target, target, interpolation=method),
            )
    for data_format, free in itertools.product(FORMATS, (True, False)):
        function = lay(layers.CenterCrop, 6, 9, data_format=data_format)
        words = f"6 x 9, {data_format}, {'free' if free else 'fixed'} sides"
        first = data_format == "channels_first"
        yield pictures("layers.CenterCrop", words, function, free=free, channels_first=first, each=_CROPPED)
        yield pictures(
            "layers.RandomCrop",
            words,
            lay(layers.RandomCrop, 6, 9, data_format=data_format),
            free=free,
            channels_first=first,
            each=_CROPPED,
        )
    for target in TARGETS:
        yield _sweep(
            "CenterCrop", f"sources 8..512 to {target}", lay(layers.CenterCrop, target, target), step=7, traced=True
        )


_CROPPED = ((8, 12), (9, 9), (6, 9), (5, 20), (20, 5), (4, 4), (13, 17))


def _sweep(name: str, words: str, function: Function, *, step: int = 1, traced: bool = False) -> Case:
    """Many source sizes, one axis at a time, against a fixed size of the other one.

    Args:
        name: of the layer.
        words: the variant.
        function: applies the layer.
        step: take every so many of the sources.
        traced: whether Keras traces its graph again for each size, because it depends on the size.
    """

    def probes() -> list[Probe]:
        random = np.random.default_rng(2)
        made = []
        for axis, size in itertools.product((1, 2), SOURCES[::step]):
            shape = [1, 16, 16, 1]
            shape[axis] = size
            picture = random.integers(0, 256, shape).astype("float32")
            made.append(Probe(f"axis {axis}", (picture,), relaxed=bool(made) and not traced))
        return made

    return Case(f"layers.{name}", words, (InputSpec((None, None, 1)),), function, probes)
