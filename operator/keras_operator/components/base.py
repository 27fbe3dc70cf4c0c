"""A component: one kind of child, from its desired objects to what it contributes to the status."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from keras_api.manifest import ModelSummary
from keras_api.resource import KerasModel
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import ChildKind, Object, Ref
from keras_operator.settings import Settings
from keras_operator.state.conditions import ConditionUpdate
from keras_operator.state.failure import Failure
from keras_operator.state.observed import Observed
from keras_operator.tasks.base import Task
from keras_operator.tasks.chain import ChainState


class Prepared(NamedTuple):
    """A revision whose bundle is in the store."""

    revision: str
    model: ModelSummary


@dataclass(frozen=True)
class Context:
    """The inputs of a component's decisions."""

    model: KerasModel
    observed: Observed
    settings: Settings
    tasks: tuple[Task, ...]
    """The chain that leads to the desired revision."""
    chain: ChainState | None = None
    """State of that chain; None when the spec is invalid."""
    prepared: Prepared | None = None
    """The revision that the Deployment must run; None before the first one is prepared."""
    errors: Mapping[Ref, ApplyError] = field(default_factory=dict)
    """After applying: the errors, by child. Empty while the plan is made."""

    @property
    def is_prepared(self) -> bool:
        """Whether the desired revision is prepared."""
        return self.chain is not None and self.chain.summary is not None


class Component(ABC):
    """One kind of child. Every method is pure; a component overrides only the methods that it needs."""

    child: ChildKind
    """The kind, how it is watched, and what the cache keeps of its objects."""
    wave: int = 1
    """Objects of a lower wave are applied first."""
    required: bool = True
    """Whether an error with such an object keeps the model from being Ready."""

    def step(self, context: Context) -> str:
        """The step that an error with such an object belongs to, as in `Failure.step`."""
        return "serve"

    def desired(self, context: Context) -> Iterable[Object]:
        """The objects that should exist. Not called for a kind that the cluster does not serve.

        Raises:
            SpecError: when the spec cannot be rendered.
        """
        return ()

    def obsolete(self, context: Context) -> Iterable[Ref]:
        """Objects of this kind, owned by the model, to delete."""
        return ()

    def failures(self, context: Context) -> Iterable[Failure]:
        """Failures that keep the model from being Ready, the most important first."""
        return ()

    def conditions(self, context: Context) -> Iterable[ConditionUpdate]:
        """The component's own conditions."""
        return ()

    def owned(self, context: Context) -> Iterable[Ref]:
        """The live objects of this kind that the model owns and that are not being deleted."""
        for ref, child in context.observed.children.items():
            if ref.kind == self.child.kind and child.controller == context.model.metadata.uid and not child.deleting:
                yield ref


@dataclass(frozen=True)
class Config:
    """The inputs of every decision that are the same for all models."""

    settings: Settings
    components: tuple[Component, ...]
    tasks: tuple[Task, ...]
