"""The operator's permissions, as rules of a Role or ClusterRole. `make generate` writes them into the chart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from keras_operator.components.base import Component
from keras_operator.kube.kinds import EVENT, KERAS_MODEL, POD, REPLICA_SET, SECRET, Kind


class Rule(NamedTuple):
    """A rule with the reason for it."""

    why: str
    kind: Kind
    subresource: str
    verbs: tuple[str, ...]

    @property
    def resource(self) -> str:
        """The resource as a Role names it."""
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


# For every cluster-wide or namespaced installation, whatever the components are.
BASE_RULES = (
    Rule("The desired state of the models.", KERAS_MODEL, "", ("get", "list", "watch")),
    Rule("The status of the models.", KERAS_MODEL, "status", ("patch",)),
    Rule(
        "Some clusters require this to create children that block the deletion of their owner.",
        KERAS_MODEL,
        "finalizers",
        ("update",),
    ),
    Rule("The pods of Jobs and Deployments.", POD, "", ("list", "watch")),
    Rule("Evidence: the last log line of a server that does not become ready.", POD, "log", ("get",)),
    Rule("Evidence: why the pods of a rollout are rejected.", REPLICA_SET, "", ("list",)),
    Rule("Evidence: why a pod does not start; and Events about models.", EVENT, "", ("list", "create")),
    Rule("The credentials in spec.source.secretRef, to poll the source.", SECRET, "", ("get",)),
)


def rules(components: Iterable[Component]) -> Iterator[Rule]:
    """All rules: the base ones, and one for each kind of child."""
    yield from BASE_RULES
    for component in components:
        child = component.child
        why = f"Children: {child.kind}s."
        if child.deletable:
            why = (
                f"{why} The operator deletes obsolete ones; the garbage collector deletes the others with their model."
            )
        verbs = ("get", "list", "watch", "create", "patch", *(("delete",) if child.deletable else ()))
        yield Rule(why, child.kind, "", verbs)
