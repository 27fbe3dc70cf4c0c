"""All cases, by name."""

from __future__ import annotations

from functools import cache

import elementwise
from model import Case

UNCOVERED: dict[str, str] = {}


@cache
def cases() -> dict[str, Case]:
    """All cases by name."""
    made: dict[str, Case] = {}
    for module in (elementwise,):
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
