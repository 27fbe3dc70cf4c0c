"""What keeps the operator from doing its work on a child, or on all children of a kind."""

from __future__ import annotations

import re
from typing import NamedTuple

from keras_api.reasons import Reason

_RBAC = re.compile(r'cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')


class ApplyError(NamedTuple):
    """Why a child could not be applied, deleted or observed."""

    reason: Reason
    message: str


def missing_right(message: str) -> ApplyError | None:
    """The verb and the resource that an answer of the API server says the operator has no right to; None without."""
    denied = _RBAC.search(message)
    if denied is None:
        return None
    verb, resource, group = denied.groups()
    name = f"{resource}.{group}" if group else resource
    return ApplyError(Reason.FORBIDDEN, f"the operator may not {verb} {name}: {message}")
