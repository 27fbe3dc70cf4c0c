"""Layers of keras.layers that compute on each value, merge inputs, normalise, reshape, or only act in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from keras import activations, layers

from parity.build import pictures, whole
from parity.edges import pointwise
from parity.model import Case, InputSpec

Function = Callable[..., Any]
EDGES = ("zero", "negative", "tiny", "large", "huge", "NaN", "infinity")
NUMBERS = ("zero", "tiny", "large", "NaN", "infinity")
ROWS = ((None, 4),)
ACTIVATIONS = [
    *(
        "celu",
        "elu",
        "exponential",
        "gelu",
        "glu",
        "hard_shrink",
        "hard_sigmoid",
        "hard_silu",
        "hard_tanh",
        "leaky_relu",
    ),
    *("linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink"),
    *(
        "softmax",
        "softplus",
        "softsign",
        "sparse_plus",
        "sparse_sigmoid",
        "sparsemax",
        "squareplus",
        "tanh",
        "tanh_shrink",
    ),
    *("threshold",),
]
HALF = "mixed_float16"


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _pointwise()
    yield from _dense()
    yield from _merging()
    yield from _normalising()
    yield from _reshaping()
    yield from _training_only()


def _value(layer: str, variant: str, function: Function, dtype: str = "float32") -> Case:
    words = variant if dtype == "float32" else f"{variant}, {dtype}"
    return Case(f"layers.{layer}", words, (InputSpec((None,), dtype),), function, lambda: pointwise(dtype))


def _pointwise() -> Iterator[Case]:
    for name in ACTIVATIONS:
        function = getattr(activations, name)
        if name == "threshold":
            continue
        if name in {"softmax", "log_softmax", "glu", "sparsemax"}:
            yield whole("layers.Activation", name, lay(layers.Activation, name), ((None, 4),))
        else:
            yield _value("Activation", name, lay(layers.Activation, name))
        assert callable(function)
    yield _value("ReLU", "default", lay(layers.ReLU))
    yield _value(
        "ReLU",
        "max_value=2, slope 0.1, threshold 0.5",
        lay(layers.ReLU, max_value=2, negative_slope=0.1, threshold=0.5),
    )
    yield _value("ELU", "alpha=0.5", lay(layers.ELU, alpha=0.5))
    yield _value("LeakyReLU", "default", lay(layers.LeakyReLU))
    yield whole("layers.PReLU", "shared_axes=[1]", lay(layers.PReLU, shared_axes=[1]), ROWS)
    for axis in (-1, 1, (1, 2)):
        yield whole("layers.Softmax", f"axis={axis}", lay(layers.Softmax, axis=axis), ((3, 4),))
    yield whole("layers.Softmax", "mask", lambda x, m: layers.Softmax()(x, mask=m), ((4,), (4,)), ("float32", "bool"))
    yield _value("Identity", "default", lay(layers.Identity))
    yield _value("Identity", "default", lay(layers.Identity), "int32")
    yield _value("ActivityRegularization", "l1", lay(layers.ActivityRegularization, l1=0.1))
    for dtype in ("float32", "uint8", "int32"):
        yield _value("Rescaling", "1/255", lay(layers.Rescaling, 1 / 255), dtype)
        yield _value("Rescaling", "1/127.5, -1", lay(layers.Rescaling, 1 / 127.5, -1), dtype)
    for value in (0.0, -1.0):
        yield whole("layers.Masking", f"mask_value={value}", lay(layers.Masking, value), ((None, 2),))
    yield whole(
        "layers.Masking",
        "into LSTM",
        lambda x: layers.LSTM(3)(layers.Masking(0.0)(x)),
        ((None, 2),),
        kinds=("zero", "large"),
    )


def lay(layer: Any, *arguments: Any, **options: Any) -> Function:
    """A function that applies a new layer."""
    return lambda *inputs: layer(*arguments, **options)(inputs[0] if len(inputs) == 1 else list(inputs))


def _dense() -> Iterator[Case]:
    for name in (None, *ACTIVATIONS):
        if name != "threshold":
            yield whole(
                "layers.Dense", f"activation={name}", lay(layers.Dense, 4, activation=name), ((4,),), kinds=NUMBERS
            )
    yield whole("layers.Dense", "of steps", lay(layers.Dense, 3), ROWS, kinds=NUMBERS)
    yield whole("layers.Dense", "no bias", lay(layers.Dense, 3, use_bias=False), ROWS, kinds=())
    yield whole("layers.Dense", "lora_rank=2", lay(layers.Dense, 3, lora_rank=2), ROWS, kinds=())
    for policy in ("mixed_float16", "float16", "mixed_bfloat16", "bfloat16", "float64"):
        yield whole("layers.Dense", policy, lay(layers.Dense, 3, dtype=policy), ((4,),), kinds=("large",))
        two = lambda x, p=policy: layers.Dense(3, dtype=p)(layers.Dense(3, dtype=p)(x))  # noqa: E731
        yield whole("layers.Dense", f"two, {policy}", two, ((4,),), kinds=("large", "huge"))
    for mode in ("int8", "int4", "float8"):
        yield whole("layers.Dense", f"quantized to {mode}", _quantized(mode), ((4,),), kinds=("large", "zero"))
    yield whole(
        "layers.EinsumDense",
        "abc,cd->abd",
        lay(layers.EinsumDense, "abc,cd->abd", (None, 3), bias_axes="d"),
        ROWS,
        kinds=NUMBERS,
    )
    yield whole("layers.EinsumDense", "ab,bc->ac", lay(layers.EinsumDense, "ab,bc->ac", 3), ((4,),), kinds=())
    yield whole("layers.EinsumDense", "...x,xy->...y", lay(layers.EinsumDense, "...x,xy->...y", 3), ((2, 4),), kinds=())
    yield whole(
        "layers.SpectralNormalization",
        "Dense",
        lambda x: layers.SpectralNormalization(layers.Dense(3))(x),
        ((4,),),
        kinds=NUMBERS,
    )
    yield whole("layers.Pipeline", "Dense, ReLU", lay(layers.Pipeline, [layers.Rescaling(0.5), layers.ReLU()]), ((4,),))


def _quantized(mode: str) -> Function:
    def function(x: Any) -> Any:
        layer = layers.Dense(4)
        layer(x)
        layer.quantize(mode)
        return layer(x)

    return function


def _merging() -> Iterator[Case]:
    two = [(None, 4), (None, 4)]
    for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
        layer = getattr(layers, name)
        yield whole(f"layers.{name}", "two inputs", lay(layer), two, edge=(0, 1))
        yield whole(f"layers.{name}", "broadcast", lay(layer), ((4, 1), (1, 3)), kinds=())
        if name != "Average":
            yield whole(f"layers.{name}", "int32", lay(layer), two, ("int32", "int32"), kinds=("negative",))
        if name not in {"Subtract"}:
            yield whole(f"layers.{name}", "three inputs", lay(layer), [*two, (None, 4)], kinds=())
    for axis in (1, -1):
        yield whole("layers.Concatenate", f"axis={axis}", lay(layers.Concatenate, axis=axis), two)
    yield whole("layers.Concatenate", "int32", lay(layers.Concatenate), two, ("int32", "int32"), kinds=("negative",))
    for normalize in (False, True):
        options: dict[str, Any] = {"axes": 1, "normalize": normalize}
        yield whole("layers.Dot", f"normalize={normalize}", lay(layers.Dot, **options), ((4,), (4,)), kinds=NUMBERS)
    yield whole("layers.Dot", "axes=(2, 1)", lay(layers.Dot, axes=(2, 1)), ((None, 4), (4, 2)), kinds=NUMBERS)


def _normalising() -> Iterator[Case]:
    picture = ((6, 6, 4),)
    for axis, shape in ((-1, picture), (1, ((4, 6, 6),)), (-1, ((4,),))):
        words = f"axis={axis}, {len(shape[0])}D"
        yield whole("layers.BatchNormalization", words, lay(layers.BatchNormalization, axis=axis), shape, kinds=NUMBERS)
    yield whole(
        "layers.BatchNormalization",
        "no scale",
        lay(layers.BatchNormalization, scale=False, center=False),
        ((4,),),
        kinds=(),
    )
    for half in ("mixed_float16", "float16"):
        yield whole(
            "layers.BatchNormalization", half, lay(layers.BatchNormalization, dtype=half), ((4,),), kinds=("large",)
        )
        yield whole(
            "layers.LayerNormalization", half, lay(layers.LayerNormalization, dtype=half), ((4,),), kinds=("large",)
        )
    for axis in (-1, [1, 2]):
        yield whole(
            "layers.LayerNormalization",
            f"axis={axis}",
            lay(layers.LayerNormalization, axis=axis),
            ((3, 4),),
            kinds=EDGES,
        )
    yield whole("layers.LayerNormalization", "of steps", lay(layers.LayerNormalization), ROWS, kinds=EDGES)
    yield whole("layers.RMSNormalization", "last axis", lay(layers.RMSNormalization), ROWS, kinds=EDGES)
    for groups in (1, 2, -1):
        yield whole(
            "layers.GroupNormalization",
            f"groups={groups}",
            lay(layers.GroupNormalization, groups),
            picture,
            kinds=NUMBERS,
        )
    yield whole(
        "layers.GroupNormalization",
        "free sides",
        lay(layers.GroupNormalization, 2),
        ((None, None, 4),),
        kinds=(),
        each=(1, 4, 7),
    )
    yield whole("layers.UnitNormalization", "last axis", lay(layers.UnitNormalization), ROWS, kinds=EDGES)
    statistics: dict[str, Any] = {"mean": [0.0, 1.0, 2.0, -1.0], "variance": [1.0, 4.0, 0.25, 0.0]}
    for invert in (False, True):
        yield whole(
            "layers.Normalization",
            f"invert={invert}",
            lay(layers.Normalization, invert=invert, **statistics),
            ROWS,
            kinds=EDGES,
        )
    yield whole(
        "layers.Normalization",
        "axis=None",
        lay(layers.Normalization, axis=None, mean=1.0, variance=4.0),
        ROWS,
        kinds=EDGES,
    )
    for dtype in ("int32", "uint8"):
        yield whole("layers.Normalization", dtype, lay(layers.Normalization, **statistics), ROWS, (dtype,))


def _reshaping() -> Iterator[Case]:
    yield whole("layers.Flatten", "free steps", lay(layers.Flatten), ROWS)
    yield whole(
        "layers.Flatten", "channels_first", lay(layers.Flatten, data_format="channels_first"), ((2, 3, 4),), kinds=()
    )
    yield whole("layers.Permute", "(2, 1)", lay(layers.Permute, (2, 1)), ROWS)
    yield whole("layers.RepeatVector", "3", lay(layers.RepeatVector, 3), ((4,),))
    yield whole("layers.Reshape", "(2, 2)", lay(layers.Reshape, (2, 2)), ((4,),))
    yield whole("layers.Reshape", "(-1, 2)", lay(layers.Reshape, (-1, 2)), ROWS)
    for size in (1, 2, (1, 2)):
        yield whole("layers.Cropping1D", f"{size}", lay(layers.Cropping1D, size), ROWS, each=(3, 4, 9))
        yield whole("layers.ZeroPadding1D", f"{size}", lay(layers.ZeroPadding1D, size), ROWS)
    yield whole("layers.ZeroPadding1D", "int32", lay(layers.ZeroPadding1D, 2), ROWS, ("int32",), kinds=("negative",))
    yield whole("layers.UpSampling1D", "3", lay(layers.UpSampling1D, 3), ROWS)


TRAINING_ONLY: dict[str, dict[str, Any]] = {
    "Dropout": {"rate": 0.5},
    "AlphaDropout": {"rate": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "GaussianNoise": {"stddev": 1.0},
    "SpatialDropout1D": {"rate": 0.5},
    "SpatialDropout2D": {"rate": 0.5},
    "SpatialDropout3D": {"rate": 0.5},
}
TRAINING_ONLY_PICTURES: dict[str, dict[str, Any]] = {
    "AugMix": {},
    "CutMix": {},
    "MixUp": {},
    "RandAugment": {},
    "RandomBrightness": {"factor": 0.5},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomColorJitter": {},
    "RandomContrast": {"factor": 0.5},
    "RandomElasticTransform": {},
    "RandomErasing": {},
    "RandomFlip": {},
    "RandomGaussianBlur": {},
    "RandomGrayscale": {},
    "RandomHue": {"factor": 0.5},
    "RandomInvert": {},
    "RandomPerspective": {},
    "RandomPosterization": {"factor": 4},
    "RandomRotation": {"factor": 0.5},
    "RandomSaturation": {"factor": 0.5},
    "RandomSharpness": {"factor": 0.5},
    "RandomShear": {"x_factor": 0.5},
    "RandomTranslation": {"height_factor": 0.5, "width_factor": 0.5},
    "RandomZoom": {"height_factor": 0.5},
}


def _training_only() -> Iterator[Case]:
    shapes = {"SpatialDropout1D": (None, 4), "SpatialDropout2D": (4, 4, 2), "SpatialDropout3D": (4, 4, 4, 2)}
    for name, options in TRAINING_ONLY.items():
        layer = getattr(layers, name)
        yield whole(f"layers.{name}", "inference", lay(layer, **options), (shapes.get(name, (None, 4)),))
    for name, options in TRAINING_ONLY_PICTURES.items():
        layer = getattr(layers, name)
        for dtype in ("float32", "uint8"):
            yield pictures(f"layers.{name}", "inference", lay(layer, **options), dtype=dtype, each=((8, 8), (9, 12)))
