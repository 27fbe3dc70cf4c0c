"""What a feature adds to a container and its pod: arguments, environment, mounts and the volumes behind them.

A feature that needs several of these (the store's token, a source's Secret, a claim) is one part. A container is made
from the sum of its parts, so that no feature edits the fields of another one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class PodPart:
    """Fields to add to one container, and volumes to add to its pod. In `a + b` the entries of `a` come first."""

    args: tuple[str, ...] = ()
    """Arguments of the container's program."""
    env: tuple[dict[str, Any], ...] = ()
    """Environment variables, as in a Container."""
    env_from: tuple[dict[str, Any], ...] = ()
    """Sources of environment variables, as in a Container; of two with the same variable the last one wins."""
    mounts: tuple[dict[str, Any], ...] = ()
    """Volume mounts, as in a Container."""
    volumes: tuple[dict[str, Any], ...] = ()
    """Volumes, as in a PodSpec."""

    def __add__(self, other: PodPart) -> PodPart:
        return PodPart(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def volumes_of(*parts: PodPart) -> list[dict[str, Any]]:
    """The volumes of a pod whose containers have these parts; a volume that several containers share counts once."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for volume in part.volumes:
            found.setdefault(volume["name"], volume)
    return list(found.values())
