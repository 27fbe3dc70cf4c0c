"""All cases by name, and what has none."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from functools import cache

import keras

from parity.cases import (
    arrays_ops,
    basic_layers,
    elementwise,
    index_ops,
    linear_ops,
    nn_ops,
    sequence_layers,
    spatial_layers,
)
from parity.model import Case

MODULES = (elementwise, arrays_ops, index_ops, linear_ops, nn_ops, basic_layers, spatial_layers, sequence_layers)

UNCOVERED = {
    "layers.FlaxLayer": "it wraps a module of Flax, which needs the JAX backend",
    "layers.InputLayer": "every model has one: `keras.Input` makes it",
    "layers.InputSpec": "it describes the inputs of a layer, and is no layer",
    "layers.JaxLayer": "it wraps a function of JAX, which needs the JAX backend",
    "layers.Lambda": "it holds Python code, which the prepare step refuses to load",
    "layers.Layer": "the base class of all layers",
    "layers.MaxNumBoundingBoxes": "it takes a dictionary of bounding boxes in a data set, and no tensors of a model",
    "layers.TFSMLayer": "it loads another SavedModel from a path, which the prepare step refuses",
    "layers.TorchModuleWrapper": "it wraps a module of PyTorch, which needs the PyTorch backend",
    "layers.Wrapper": "the base class of the layers that hold another one",
    "ops.convert_to_numpy": "it leaves the graph: its result is no tensor",
}
"""Names without cases, and why."""


@cache
def cases() -> dict[str, Case]:
    """All cases by name."""
    made: dict[str, Case] = {}
    for module in MODULES:
        for each in module.cases():
            if each.name in made:
                raise ValueError(f"two cases are called {each.name}: give them other variants")
            made[each.name] = each
    return made


def names() -> list[str]:
    """The names of all cases."""
    return list(cases())


def case(name: str) -> Case:
    """A case by its name."""
    return cases()[name]


@cache
def _ranks() -> dict[str, int]:
    seen: Counter[str] = Counter()
    ranks = {}
    for name, each in cases().items():
        ranks[name] = seen[each.subject]
        seen[each.subject] += 1
    return ranks


def rank(name: str) -> int:
    """The place of a case among those of its subject: a run begins with the first case of everything."""
    return _ranks()[name]


def public_names() -> Iterator[str]:
    """What Keras offers: each class of keras.layers once, and each function of keras.ops and of its modules once."""
    layers = dict(inspect.getmembers(keras.layers, inspect.isclass))
    for name, layer in layers.items():
        if layer.__name__ == name or layer.__name__ not in layers:  # others are aliases, such as MaxPool1D
            yield f"layers.{name}"
    functions = {name for name in dir(keras.ops) if callable(getattr(keras.ops, name))}
    yield from (f"ops.{name}" for name in functions if not name.startswith("_"))
    for module_name, module in inspect.getmembers(keras.ops, inspect.ismodule):
        for name in dir(module):
            if callable(getattr(module, name)) and not name.startswith("_") and name not in functions:
                yield f"ops.{module_name}.{name}"


def missing() -> list[str]:
    """What Keras offers and this registry neither covers nor excludes."""
    subjects = {each.subject for each in cases().values()}
    return sorted(name for name in public_names() if name not in subjects and name not in UNCOVERED)
