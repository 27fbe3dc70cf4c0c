"""Synthetic inputs, to compare a converted model with Keras if the user provides no validation rows.

Unknown words for a lookup, or ids out of the range of an embedding, would not test a conversion. Therefore each input
is traced to the first layer that determines its values. The random generator is seeded: a model always gets the same
inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np

from keras_api.manifest import Tensor
from keras_pipeline.arrays import Arrays
from keras_pipeline.input_sizes import Shape, Sizes, shape_of
from keras_pipeline.loading import LoadedModel
from keras_runtimes.arrays import Array

SEED = 20_240
WORDS = [f"word{index}" for index in range(100)]
DEFAULT_IDS = 10
UNKNOWN_WORD = "not-in-it"

EMBEDDINGS = {"Embedding", "ReversibleEmbedding"}

# Layers and operations whose output has values of the same kind as their input.
TRANSPARENT = {
    *("InputLayer", "Identity", "Activation", "Cast", "Masking", "Reshape", "Flatten", "Permute", "RepeatVector"),
    *("GetItem", "ExpandDims", "Squeeze", "Transpose", "Slice", "Split", "Concatenate", "Stack"),
    *("Resizing", "CenterCrop", "RandomCrop", "ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D"),
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness"),
    *("Dropout", "SpatialDropout1D", "GaussianNoise"),
}


class Domain(Protocol):
    """The values that an input accepts."""

    def sample(self, random: np.random.Generator, shape: Shape) -> Array:
        """Random values of a shape, of any type that can be cast to that of the input."""


@dataclass(frozen=True)
class Normal:
    """Normally distributed numbers. Mean and deviation are broadcast over the shape."""

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
    """Integers from `first` to below `count`. Sequences end in zeros, like padded sequences, if zero is an id."""

    count: int
    first: int = 0

    def sample(self, random: np.random.Generator, shape: Shape) -> Array:
        """See Domain."""
        ids = random.integers(self.first, max(self.first + 1, self.count), shape)
        if self.first == 0 and len(shape) == 2 and shape[1] > 1:
            ids[ids == 0] = min(1, self.count - 1)  # zero inside a sequence would be padding
            lengths = random.integers(1, shape[1] + 1, shape[0])
            ids[np.arange(shape[1]) >= lengths[:, None]] = 0
        return ids


@dataclass(frozen=True)
class Choice:
    """Values of a vocabulary, and one that is not in it."""

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
    """Generates inputs for a model.

    The likely values of an input may be rejected by the model all the same, so there are several guesses; the first one
    that the model accepts counts.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._inputs = model.inputs
        self.domains = {
            tensor.name: _guesses(model.keras, keras_tensor, tensor)
            for tensor, keras_tensor in zip(model.inputs, model.keras.inputs, strict=True)
        }
        """The guesses for each input, the most likely one first."""

    @property
    def guesses(self) -> int:
        """Number of guesses."""
        return max(len(domains) for domains in self.domains.values())

    def batch(self, rows: int, sizes: Sizes, guess: int = 0) -> Arrays:
        """Input arrays by name.

        Args:
            rows: size of the batch axis.
            sizes: sizes of free axes.
            guess: which guess of the values.
        """
        random = np.random.default_rng([SEED, rows])
        return {
            tensor.name: self._sample(tensor, random, shape_of(tensor, rows, sizes), guess) for tensor in self._inputs
        }

    def domain(self, tensor: Tensor, guess: int) -> Domain:
        """The values of an input in a guess."""
        domains = self.domains[tensor.name]
        return domains[min(guess, len(domains) - 1)]

    def _sample(self, tensor: Tensor, random: np.random.Generator, shape: Shape, guess: int) -> Array:
        values = self.domain(tensor, guess).sample(random, shape)
        return values.astype(np.str_ if tensor.dtype == "string" else tensor.dtype)


def _guesses(model: Any, keras_tensor: Any, tensor: Tensor) -> list[Domain]:
    first = _domain(model, keras_tensor, tensor)
    layers = model._flatten_layers()
    if tensor.dtype == "string":
        words = [str(word) for layer in layers if hasattr(layer, "get_vocabulary") for word in layer.get_vocabulary()]
        return [first, *([Choice(np.array(words))] if words else [])]
    if tensor.dtype == "bool":
        return [first]
    # Ids may reach an embedding or a table by arithmetic, and some models count them from one.
    tables = [layer.input_dim for layer in layers if type(layer).__name__ in EMBEDDINGS]
    count = min(tables, default=DEFAULT_IDS)
    ids = [Ids(count), Ids(count, first=1), Ids(2), Ids(2, first=1), Ids(1)]
    if tensor.dtype.startswith("float"):
        return [first, Uniform(0.0, 1.0), Uniform(1.0, 2.0), *ids]
    return [first, *(domain for domain in ids if domain != first)]


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
    """Domains of the layers that consume a tensor, directly or after layers that keep the kind of its values."""
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
                if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):  # not a subclassed one
                    pending.extend((layer, layer.inputs[place]) for place in places)
                elif domain := _layer_domain(layer, tensor):
                    yield domain
                elif type(layer).__name__ in TRANSPARENT:
                    pending.extend((model, output) for output in node.output_tensors)


def _layer_domain(layer: Any, tensor: Any) -> Domain | None:
    """The values that a layer accepts; None if unknown. A new kind of layer is one more case here."""
    match type(layer).__name__:
        case name if name in EMBEDDINGS:
            return Ids(layer.input_dim)
        case "CategoryEncoding":
            return Ids(layer.num_tokens)
        case "OneHot":
            return Ids(layer.num_classes)
        case "TextVectorization":
            return Sentences([word for word in layer.get_vocabulary() if word] or WORDS)
        case "StringLookup":
            words = [str(word) for word in layer.get_vocabulary()]
            return Choice(np.array([*words, UNKNOWN_WORD] if layer.num_oov_indices else words))
        case "IntegerLookup":
            known = [int(value) for value in layer.get_vocabulary()]
            return Choice(np.array([*known, max(known, default=0) + 1] if layer.num_oov_indices else known))
        case "Hashing" | "HashedCrossing":
            return Choice(np.array(WORDS)) if tensor.dtype == "string" else Ids(1000)
        case "Discretization":
            boundaries = list(layer.bin_boundaries or [0.0])
            return Uniform(min(boundaries) - 1, max(boundaries) + 1)
        case "Normalization" if layer.built and getattr(layer, "mean", None) is not None:
            return Normal(np.asarray(layer.mean), np.sqrt(np.asarray(layer.variance)))
        case "Rescaling" if np.ndim(layer.scale) == np.ndim(layer.offset) == 0 and layer.scale:
            # The output is usually 0..1 or -1..1. The inverse of this range is that of the images.
            low, high = (min(float(layer.offset), 0.0), 1.0)
            return Uniform((low - layer.offset) / layer.scale, (high - layer.offset) / layer.scale)
        case _:
            return None
