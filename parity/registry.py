"""All cases, by name."""

from __future__ import annotations

from functools import cache

import arrays_ops
import elementwise
import linear_ops
import nn_ops
from model import Case

UNCOVERED: dict[str, str] = {}


@cache
def cases() -> dict[str, Case]:
    """All cases by name."""
    made: dict[str, Case] = {}
    for module in (elementwise, arrays_ops, linear_ops, nn_ops):
        for each in module.cases():
            assert each.name not in made, each.name
            made[each.name] = each
    return made


def names() -> list[str]:
    """The names of all cases."""
    return list(cases())


def case(name: str) -> Case:
    """A case by its name."""
    return cases()[name]
