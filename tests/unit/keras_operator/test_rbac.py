"""The permissions that follow from the components."""

from __future__ import annotations

from keras_operator.components import COMPONENTS
from keras_operator.components.base import Component
from keras_operator.kube.kinds import ChildKind, Kind
from keras_operator.rbac import rules

AUTOSCALER = Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")


class AutoscalerComponent(Component):
    """A kind of child that the operator does not have."""

    child = ChildKind(AUTOSCALER, deletable=True)


def test_a_component_brings_the_permissions_that_it_needs() -> None:
    (found,) = set(rules((*COMPONENTS, AutoscalerComponent()))) - set(rules(COMPONENTS))
    assert (found.kind, found.resource) == (AUTOSCALER, "horizontalpodautoscalers")
    assert found.verbs == ("get", "list", "watch", "create", "patch", "delete")


def test_only_children_that_become_obsolete_may_be_deleted() -> None:
    deletable = {rule.resource for rule in rules(COMPONENTS) if "delete" in rule.verbs}
    assert deletable == {"jobs", "servicemonitors"}
