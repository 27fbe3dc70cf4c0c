"""The plan: the children that should exist, and those to delete, from the resource and the observed state. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from keras_api.resource import KerasModel
from keras_operator.components.base import Component, Config, Context, Prepared
from keras_operator.kube.kinds import Object, Ref
from keras_operator.state.observed import Observed
from keras_operator.tasks.chain import ChainState, chain_state


class Desired(NamedTuple):
    """The desired state of a child."""

    ref: Ref
    rendered: Object


@dataclass(frozen=True)
class Plan:
    """The actions for one model."""

    chain: ChainState
    waves: tuple[tuple[Desired, ...], ...] = ()
    """Children to apply, one wave after the other."""
    delete: tuple[Ref, ...] = ()
    prepared: Prepared | None = None
    """The revision that the Deployment must run; the previous one until the desired one is prepared."""

    @property
    def apply(self) -> tuple[Object, ...]:
        """All children to apply."""
        return tuple(each.rendered for wave in self.waves for each in wave)


def decide(model: KerasModel, observed: Observed, config: Config) -> Plan:
    """Decide what should exist.

    Raises:
        SpecError: when the spec cannot be rendered.
    """
    chain = chain_state(config.tasks, model, observed)
    prepared = _prepared(model, observed, chain)
    if model.spec.suspend:
        return Plan(chain, prepared=prepared)
    context = Context(model, observed, config.settings, config.tasks, chain, prepared)
    return Plan(
        chain=chain,
        waves=_waves(config.components, context),
        delete=tuple(ref for component in config.components for ref in component.obsolete(context)),
        prepared=prepared,
    )


def _waves(components: Sequence[Component], context: Context) -> tuple[tuple[Desired, ...], ...]:
    waves: dict[int, list[Desired]] = {}
    for component in components:
        child = component.child
        if child.optional and child.kind not in context.observed.served_kinds:
            continue
        for rendered in component.desired(context):
            ref = Ref(child.kind, rendered["metadata"]["name"])
            waves.setdefault(component.wave, []).append(Desired(ref, rendered))
    return tuple(tuple(waves[number]) for number in sorted(waves))


def _prepared(model: KerasModel, observed: Observed, chain: ChainState) -> Prepared | None:
    deployment = observed.deployment(model)
    # When a suspended model is resumed, it rolls out the revision that its Job prepared, if that is still desired.
    rolls_out = not model.spec.suspend or (deployment is not None and deployment.revision == observed.revision)
    if chain.summary is not None and rolls_out:
        return Prepared(observed.revision, chain.summary)
    status = model.status
    return Prepared(status.prepared_revision, status.model) if status.prepared_revision and status.model else None
