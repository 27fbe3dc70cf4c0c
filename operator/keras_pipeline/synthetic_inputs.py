"""Inputs to compare a converted model with Keras on, where a user gave none: random, but of the kind the model knows.

A lookup fed with unknown words, or an embedding fed with ids out of range, says nothing about a conversion. So each
input is followed to the first layer that tells what it takes. Seeded: the same model gets the same probes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np

from keras_api.manifest import Tensor
from keras_pipeline.arrays import Array, Arrays
from keras_pipeline.loading import Model

SEED = 20_240
WORDS = [f"word{index}" for index in range(100)]
DEFAULT_IDS = 10
# Sizes of a free axis: of a picture's sides, and of anything else (a sequence).
FREE_SIDE, FREE_LENGTH = 64, 32

# Layers and operations that hand on values of the same kind.
TRANSPARENT = {
    *("InputLayer", "Identity", "Activation", "Cast", "Masking", "Reshape", "Flatten", "Permute", "RepeatVector"),
    *("GetItem", "ExpandDims", "Squeeze", "Transpose", "Slice", "Split", "Concatenate", "Stack"),
    *("Resizing", "CenterCrop", "RandomCrop", "ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D"),
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness"),
    *("Dropout", "SpatialDropout1D", "GaussianNoise"),
}

Shape = tuple[int, ...]


class Domain(Protocol):
    """The values that an input takes."""

    def sample(self, random: np.random.Generator, shape: Shape) -> Array:
        """Values of the given shape, of any type that can be cast to the input's."""


@dataclass(frozen=True)
class Normal:
    """Numbers around a mean; mean and deviation are broadcast over the shape."""

    mean: Any = 0.0
    deviation: Any = 1.0

    def sample(self, random: np.random.Generator, shape: Shape) -> Array:
        """See Domain."""
        return np.asarray(self.mean + self.deviation * random.normal(size=shape))


@dataclass(frozen=True)
class Uniform:
    """Numbers from low to high."""

    low: float
    high: float

    def sample(self, random: np.random.Generator, shape: Shape) -> Array:
        """See Domain."""
        return random.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Ids:
    """Whole numbers below count; sequences of them end in zeros, as padded ones do."""

    count: int

    def sample(self, random: np.random.Generator, shape: Shape) -> Array:
        """See Domain."""
        ids = random.integers(0, max(1, self.count), shape)
        if len(shape) == 2 and shape[1] > 1:
            ids[ids == 0] = min(1, self.count - 1)  # inside a sequence zero would be padding
            lengths = random.integers(1, shape[1] + 1, shape[0])
            ids[np.arange(shape[1]) >= lengths[:, None]] = 0
        return ids


@dataclass(frozen=True)
class Choice:
    """One of some values: the words or numbers of a vocabulary, and one that is not in it."""

    values: Array

    def sample(self, random: np.random.Generator, shape: Shape) -> Array:
        """See Domain."""
        return random.choice(self.values, shape)


@dataclass(frozen=True)
class Sentences:
    """Up to twenty words of a vocabulary."""

    words: list[str]

    def sample(self, random: np.random.Generator, shape: Shape) -> Array:
        """See Domain."""
        texts = [" ".join(random.choice(self.words, random.integers(1, 21))) for _ in range(math.prod(shape))]
        return np.array(texts, dtype=np.str_).reshape(shape)


class SyntheticInputs:
    """Makes probes for a model."""

    def __init__(self, model: Model) -> None:
        self._inputs = model.inputs
        self._domains = {
            tensor.name: _domain(model.keras, keras_tensor, tensor)
            for tensor, keras_tensor in zip(model.inputs, model.keras.inputs, strict=True)
        }

    def batch(self, rows: int, stretch: float = 1.0) -> Arrays:
        """Named input arrays.

        Args:
            rows: size of the batch axis.
            stretch: factor for the axes that may have any size.
        """
        random = np.random.default_rng([SEED, rows])
        return {tensor.name: self._sample(tensor, random, rows, stretch) for tensor in self._inputs}

    def _sample(self, tensor: Tensor, random: np.random.Generator, rows: int, stretch: float) -> Array:
        free = FREE_SIDE if len(tensor.shape) >= 4 else FREE_LENGTH
        shape = (rows, *(int(free * stretch) if size < 0 else size for size in tensor.shape[1:]))
        values = self._domains[tensor.name].sample(random, shape)
        return values.astype(np.str_ if tensor.dtype == "string" else tensor.dtype)


def _domain(model: Any, keras_tensor: Any, tensor: Tensor) -> Domain:
    found = list(_domains(model, keras_tensor))
    if ids := [domain for domain in found if isinstance(domain, Ids)]:
        return min(ids, key=lambda domain: domain.count)
    if found:
        return found[0]
    if tensor.dtype == "string":
        return Choice(np.array(WORDS))
    if tensor.dtype == "bool":
        return Ids(2)
    return Normal() if tensor.dtype.startswith("float") else Ids(DEFAULT_IDS)


def _domains(model: Any, tensor: Any) -> Iterator[Domain]:
    """Domains of the layers that take a tensor, directly or through layers that change none of its values."""
    pending, seen = [(model, tensor)], set()
    while pending:
        model, tensor = pending.pop(0)
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        for layer in getattr(model, "operations", None) or model.layers:
            for node in layer._inbound_nodes:
                places = [place for place, taken in enumerate(node.input_tensors) if taken is tensor]
                if not places:
                    continue
                if isinstance(layer, keras.Model):
                    pending.extend((layer, layer.inputs[place]) for place in places)
                elif domain := _layer_domain(layer, tensor):
                    yield domain
                elif type(layer).__name__ in TRANSPARENT:
                    pending.extend((model, output) for output in node.output_tensors)


def _layer_domain(layer: Any, tensor: Any) -> Domain | None:
    """What a layer takes; None when it does not tell. A new kind of layer is one more case here."""
    match type(layer).__name__:
        case "Embedding" | "ReversibleEmbedding":
            return Ids(layer.input_dim)
        case "CategoryEncoding":
            return Ids(layer.num_tokens)
        case "TextVectorization":
            return Sentences([word for word in layer.get_vocabulary() if word] or WORDS)
        case "StringLookup":
            return Choice(np.array([*map(str, layer.get_vocabulary()), "not-in-it"]))
        case "IntegerLookup":
            known = [int(value) for value in layer.get_vocabulary()]
            return Choice(np.array([*known, max(known, default=0) + 1]))
        case "Hashing" | "HashedCrossing":
            return Choice(np.array(WORDS)) if tensor.dtype == "string" else Ids(1000)
        case "Discretization":
            boundaries = list(layer.bin_boundaries or [0.0])
            return Uniform(min(boundaries) - 1, max(boundaries) + 1)
        case "Normalization" if layer.built and getattr(layer, "mean", None) is not None:
            return Normal(np.asarray(layer.mean), np.sqrt(np.asarray(layer.variance)))
        case "Rescaling" if np.ndim(layer.scale) == np.ndim(layer.offset) == 0 and layer.scale:
            # Its output is meant to be 0..1, or -1..1: turned round, that is the range of the pictures.
            low, high = (min(float(layer.offset), 0.0), 1.0)
            return Uniform((low - layer.offset) / layer.scale, (high - layer.offset) / layer.scale)
        case _:
            return None
