"""Detects a model that answers at random, such as one that samples from a distribution (a variational autoencoder)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from keras_api.reasons import Reason
from keras_pipeline.arrays import Arrays
from keras_pipeline.errors import PrepareError
from keras_runtimes.arrays import Array

# Threads may add the parts of a sum in another order. Differences of this many units of rounding are not random.
ROUNDING_UNITS = 64


def check_deterministic(run: Callable[[Arrays], Arrays], inputs: Arrays, model: Any = None) -> None:
    """Run the same inputs twice, and compare the outputs.

    Args:
        run: runs inference on named arrays, and returns the named outputs.
        inputs: one batch.
        model: the Keras model, to name the layers that draw random numbers.

    Raises:
        PrepareError: MODEL_UNSUPPORTED, with the output that differs and, if they are found, the layers that cause it.
    """
    first, second = run(inputs), run(inputs)
    for name, array in first.items():
        if _same(array, second[name]):
            continue
        layers = ", ".join(map(repr, random_layers(model))) if model is not None else ""
        raise PrepareError(
            Reason.MODEL_UNSUPPORTED,
            f"the model answers at random: output {name!r} differs when the same input is run again"
            + (f" (random numbers are drawn in layer {layers})" if layers else "")
            + ". Let the layer draw random numbers only if its argument `training` is true, and return the mean "
            "otherwise; or save a model that ends before this layer",
        )


def random_layers(model: Any) -> list[str]:
    """Names of the layers that may draw random numbers in inference.

    These are the layers with a seed generator that are not Keras's own, because Keras's layers draw random numbers in
    training only. If there are none, these are all layers that are not Keras's own: they may use the global seed.
    """
    own = [layer for layer in _layers(model) if not type(layer).__module__.startswith("keras.")]
    seeded = [layer for layer in own if _has_seed_generator(layer)]
    return [str(layer.name) for layer in seeded or own]


def _layers(model: Any) -> Iterator[Any]:
    """All layers, also those of nested models and within layers."""
    pending, seen = [model], set()
    while pending:
        layer = pending.pop(0)
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if layer is not model:
            yield layer
        pending.extend(getattr(layer, "_layers", []))


def _has_seed_generator(layer: Any) -> bool:
    return any(
        type(value).__name__ == "SeedGenerator" and type(value).__module__.startswith("keras.")
        for value in vars(layer).values()
    )


def _same(first: Array, second: Array) -> bool:
    """Whether two runs gave the same values, except for rounding; NaN and infinity equal themselves."""
    if first.shape != second.shape:
        return False
    if first.dtype.kind != "f":
        return bool(np.array_equal(first, second))
    scale = np.abs(first[np.isfinite(first)].astype(np.float64)).max(initial=0.0)
    allowed = ROUNDING_UNITS * float(np.finfo(first.dtype).eps) * scale
    return bool(np.allclose(first.astype(np.float64), second.astype(np.float64), 0.0, allowed, equal_nan=True))
