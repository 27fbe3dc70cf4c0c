"""Operations of keras.ops for neural networks: activations along an axis, pooling, convolutions, losses, pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from parity.build import pictures, whole
from parity.model import Case

Function = Callable[..., Any]
# An empty sequence ends the process.
NO_EMPTY = (1, 2, 9)
EDGES = ("zero", "tiny", "large", "huge", "NaN", "infinity")


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _activations()
    yield from _windows()
    yield from _losses()
    yield from _images()


def kernel(*shape: int) -> Any:
    """Weights of a convolution."""
    return np.random.default_rng(8).normal(scale=0.4, size=shape).astype("float32")


def _activations() -> Iterator[Case]:
    rows = ((None, 4),)
    for name in ("softmax", "log_softmax"):
        function = getattr(ops, name)
        for dtype in ("float32", "float16"):
            yield whole(f"ops.{name}", f"axis=-1, {dtype}", function, rows, (dtype,), kinds=EDGES)
        yield whole(f"ops.{name}", "axis=1", lambda x, f=function: f(x, axis=1), rows, kinds=EDGES)
        yield whole(f"ops.{name}", "axis=(1, 2)", lambda x, f=function: f(x, axis=(1, 2)), ((3, 4),), kinds=EDGES)
    yield whole("ops.sparsemax", "axis=-1", ops.sparsemax, ((4,),), kinds=EDGES)
    yield whole("ops.glu", "axis=-1", ops.glu, rows, kinds=EDGES)
    yield whole("ops.layer_normalization", "last axis", ops.layer_normalization, rows, kinds=EDGES)
    yield whole("ops.rms_normalization", "last axis", ops.rms_normalization, rows, kinds=EDGES)
    statistics = np.array([0.1, 0.2, -0.3, 0.0], "float32"), np.array([1.0, 0.5, 2.0, 1.0], "float32")
    yield whole(
        "ops.batch_normalization",
        "last axis",
        lambda x: ops.batch_normalization(x, *statistics, axis=-1),
        rows,
        kinds=EDGES,
    )
    for causal in (False, True):
        yield whole(
            *("ops.dot_product_attention", f"is_causal={causal}"),
            lambda q, k, v, c=causal: ops.dot_product_attention(q, k, v, is_causal=c),
            [(None, 2, 4)] * 3,
            kinds=EDGES,
            each=NO_EMPTY,
        )
    yield whole(
        *("ops.dot_product_attention", "mask"),
        lambda q, m: ops.dot_product_attention(q, q, q, mask=m[:, None, None, :]),
        ((4, 2, 4), (4,)),
        ("float32", "bool"),
        kinds=("NaN",),
    )


def _windows() -> Iterator[Case]:
    for padding, stride in itertools.product(("valid", "same"), (1, 2)):
        words = f"padding={padding}, strides={stride}"
        for name in ("max_pool", "average_pool"):
            function = getattr(ops, name)
            yield pictures(f"ops.{name}", words, lambda x, f=function, p=padding, s=stride: f(x, 2, s, p), each=_BIG)
        for name, weights in (("conv", kernel(3, 3, 3, 2)), ("depthwise_conv", kernel(3, 3, 3, 1))):
            yield _picture_window(name, words, weights, padding, stride)
        yield pictures(
            *("ops.separable_conv", words),
            lambda x, p=padding, s=stride: ops.separable_conv(x, kernel(3, 3, 3, 1), kernel(1, 1, 3, 2), s, p),
            each=_BIG,
        )
        yield pictures(
            *("ops.conv_transpose", words),
            lambda x, p=padding, s=stride: ops.conv_transpose(x, kernel(3, 3, 2, 3), s, p),
            each=_BIG,
        )
    for name in ("adaptive_average_pool", "adaptive_max_pool"):
        function = getattr(ops, name)
        for size in (1, 3, (2, 5)):
            yield pictures(
                f"ops.{name}", f"output_size={size}", lambda x, f=function, s=size: f(x, s), free=False, each=_BIG
            )
    yield whole(
        "ops.max_pool", "1D", lambda x: ops.max_pool(x, 2), ((None, 3),), each=(2, 5, 8), kinds=("NaN", "infinity")
    )
    yield whole(
        "ops.average_pool", "1D", lambda x: ops.average_pool(x, 2), ((None, 3),), each=(2, 5, 8), kinds=("NaN",)
    )
    yield whole("ops.conv", "1D", lambda x: ops.conv(x, kernel(3, 3, 2)), ((None, 3),), each=(3, 5, 8), kinds=("NaN",))
    for padding in (0, 1):
        yield whole(
            *("ops.unfold", f"padding={padding}"),
            lambda x, p=padding: ops.unfold(x, 2, padding=p),
            ((3, 6, 6),),
            kinds=("NaN",),
        )
    yield whole("ops.fold", "of 2 x 2 blocks", lambda x: ops.fold(x, (4, 4), 2, stride=2), ((12, 4),), kinds=("NaN",))
    yield pictures("ops.space_to_depth", "2", lambda x: ops.space_to_depth(x, 2), each=((8, 8), (4, 12)))
    yield pictures("ops.depth_to_space", "2", lambda x: ops.depth_to_space(x, 2), depth=4, each=((8, 8), (4, 12)))


_BIG = ((8, 8), (9, 12), (17, 5))


def _picture_window(name: str, words: str, weights: Any, padding: str, stride: int) -> Case:
    function = getattr(ops, name)
    return pictures(f"ops.{name}", words, lambda x: function(x, weights, stride, padding), each=_BIG)


def _losses() -> Iterator[Case]:
    unit = lambda x: (x >= 0) & (x <= 1)  # noqa: E731
    for logits in (False, True):
        options: dict[str, Any] = {"kinds": ("zero", "large", "NaN"), "edge": (1,)}
        keep = None if logits else unit
        words = f"from_logits={logits}"
        for name in ("binary_crossentropy", "categorical_crossentropy"):
            function = getattr(ops, name)
            yield whole(
                *(f"ops.{name}", words),
                lambda t, o, f=function, g=logits: f(t, o, g),
                ((4,), (4,)),
                keep=keep,
                **options,
            )
        yield whole(
            *("ops.sparse_categorical_crossentropy", words),
            lambda t, o, g=logits: ops.sparse_categorical_crossentropy(t[:, 0], o, g),
            ((1,), (4,)),
            ("int32", "float32"),
            keep=keep,
            ids={0: 4},
            **options,
        )
    yield whole(
        "ops.psnr", "of rows", lambda x: ops.map(lambda r: ops.psnr(r, ops.zeros_like(r), 1.0), x), ((4,),), kinds=()
    )
    yield whole("ops.ctc_loss", "6 steps", _ctc_loss, ((6, 4), (3,)), ("float32", "int32"), kinds=())
    for strategy in ("greedy", "beam_search"):
        yield whole("ops.ctc_decode", strategy, _ctc_decode(strategy), ((6, 4),), kinds=())


def _ctc_loss(output: Any, target: Any) -> Any:
    ones = ops.ones_like(target[:, 0])
    return ops.ctc_loss(ops.clip(target, 1, 3), output, ones * 3, ones * 6)


def _ctc_decode(strategy: str) -> Function:
    def function(x: Any) -> Any:
        decoded, scores = ops.ctc_decode(x, ops.full((ops.shape(x)[0],), 6, dtype="int32"), strategy, top_paths=1)
        return decoded[0], scores

    return function


def _images() -> Iterator[Case]:
    image = ops.image
    matrix = np.array([0.9, 0.2, 1.0, -0.1, 1.1, 0.5, 0.0, 0.0], "float32")
    points = np.random.default_rng(1).uniform(-1, 7, (2, 6)).astype("float32")
    for method in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"):
        for antialias in (False, True):
            words = f"{method}, antialias={antialias}"
            function = lambda x, m=method, a=antialias: image.resize(x, (7, 11), m, a)  # noqa: E731
            yield pictures("ops.image.resize", words, function)
        words = f"{method}, uint8"
        yield pictures(
            "ops.image.resize", method, lambda x, m=method: image.resize(x, (7, 11), m), dtype="uint8", kinds=()
        )
    for option in ("crop_to_aspect_ratio", "pad_to_aspect_ratio"):
        yield pictures("ops.image.resize", option, lambda x, o=option: image.resize(x, (7, 11), **{o: True}))
    for interpolation, fill in itertools.product(
        ("nearest", "bilinear"), ("constant", "nearest", "reflect", "wrap", "mirror")
    ):
        words = f"{interpolation}, {fill}"
        if fill != "mirror":
            yield pictures(
                *("ops.image.affine_transform", words),
                lambda x, i=interpolation, f=fill: image.affine_transform(
                    x, ops.tile(matrix[None], (ops.shape(x)[0], 1)), i, f
                ),
                free=False,
                kinds=("NaN",),
            )
        if interpolation == "bilinear":
            yield whole(
                *("ops.image.map_coordinates", f"order=1, {fill}"),
                lambda x, f=fill: ops.map(lambda r: image.map_coordinates(r, points, 1, f), x),
                ((6, 6),),
                kinds=(),
            )
        else:
            yield whole(
                *("ops.image.map_coordinates", f"order=0, {fill}"),
                lambda x, f=fill: ops.map(lambda r: image.map_coordinates(r, points, 0, f), x),
                ((6, 6),),
                kinds=(),
            )
    corners = np.array([[[0, 0], [7, 0], [0, 7], [7, 7]]], "float32")
    moved = np.array([[[1, 0], [6, 1], [0, 6], [7, 7]]], "float32")
    for interpolation in ("nearest", "bilinear"):
        yield pictures(
            *("ops.image.perspective_transform", interpolation),
            lambda x, i=interpolation: image.perspective_transform(
                x, ops.tile(corners, (ops.shape(x)[0], 1, 1)), ops.tile(moved, (ops.shape(x)[0], 1, 1)), i
            ),
            free=False,
            kinds=(),
        )
        yield pictures(
            *("ops.image.elastic_transform", interpolation),
            lambda x, i=interpolation: image.elastic_transform(x, interpolation=i, seed=1),
            free=False,
            kinds=(),
        )
    for padding, size in itertools.product(("valid", "same"), (2, 3)):
        function = lambda x, p=padding, s=size: image.extract_patches(x, s, padding=p)  # noqa: E731
        yield pictures("ops.image.extract_patches", f"{size}, {padding}", function, each=_BIG)
        volumes = lambda x, p=padding, s=size: image.extract_patches_3d(x, s, padding=p)  # noqa: E731
        yield whole("ops.image.extract_patches_3d", f"{size}, {padding}", volumes, ((4, 6, 6, 2),), kinds=())
    yield pictures("ops.image.gaussian_blur", "3 x 3", lambda x: image.gaussian_blur(x), each=_BIG)
    yield pictures(
        "ops.image.crop_images",
        "to 4 x 4",
        lambda x: image.crop_images(x, 1, 1, target_height=4, target_width=4),
        free=False,
    )
    yield pictures(
        "ops.image.pad_images",
        "to 20 x 40",
        lambda x: image.pad_images(x, 1, 1, target_height=20, target_width=40),
        free=False,
    )
    unit = lambda f: lambda x: f(x / 255)  # noqa: E731
    yield pictures("ops.image.rgb_to_hsv", "0..1", unit(image.rgb_to_hsv), kinds=("zero",))
    yield pictures("ops.image.hsv_to_rgb", "0..1", unit(image.hsv_to_rgb), kinds=("zero",))
    yield pictures("ops.image.rgb_to_grayscale", "RGB", image.rgb_to_grayscale)
    yield pictures("ops.image.rgb_to_grayscale", "RGB", image.rgb_to_grayscale, dtype="uint8", kinds=())
    yield pictures("ops.image.sobel_edges", "RGB", image.sobel_edges, each=_BIG)
    yield pictures(
        *("ops.image.scale_and_translate", "bilinear"),
        lambda x: image.scale_and_translate(
            x, (2, 7, 9, 3), np.array([0.8, 1.2], "float32"), np.array([1.0, -1.0], "float32"), (1, 2), "linear"
        ),
        free=False,
        kinds=(),
    )
    yield pictures(
        "ops.image.ssim",
        "with itself darker",
        lambda x: image.ssim(x, x * 0.9, 255.0),
        free=False,
        each=((16, 16),),
        kinds=(),
    )
