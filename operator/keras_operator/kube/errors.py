"""Errors of the Kubernetes API, and their form as reason and message of a condition."""

from __future__ import annotations

import re
from typing import NamedTuple

from keras_api.reasons import Reason

_RBAC = re.compile(r'cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')


class ApiError(Exception):
    """The API server rejected a request; the text holds the request and the answer."""

    def __init__(self, status: int, message: str, request: str) -> None:
        super().__init__(f"{request}: {message or status}")
        self.status = status
        self.message = message


class UnavailableError(Exception):
    """The API server did not answer, or is overloaded: the same request may succeed later.

    `retry_after` is the number of seconds that the server asks to wait, where it names one.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ApplyError(NamedTuple):
    """Why the operator cannot apply, delete, list or watch a child."""

    reason: Reason
    message: str


def missing_permission(message: str) -> ApplyError | None:
    """The verb and resource that an answer of the API server forbids; None when the answer names none."""
    found = _RBAC.search(message)
    if found is None:
        return None
    verb, resource, group = found.groups()
    name = f"{resource}.{group}" if group else resource
    return ApplyError(Reason.FORBIDDEN, f"the operator has no permission to {verb} {name}: {message}")
