"""Evidence beyond an object's status: a warning Event about it, or the last line of a container's log."""

from __future__ import annotations

from typing import NamedTuple

LOG = "Log"
"""Reason of evidence that is a log line; all other reasons are those of Events."""
FAILED_CREATE = "FailedCreate"
"""Reason of the Event of a controller that cannot create a pod."""


class Evidence(NamedTuple):
    """A warning Event, or with the reason `LOG` the last line of a container's log."""

    reason: str
    message: str
    container: str = ""
    """Container that an Event is about; empty for an Event about the whole object."""
