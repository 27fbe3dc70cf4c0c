"""Merges the user's PodSpec over the operator's: maps by key, lists with merge keys by name, other lists replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_api.resource import SpecError

# The operator's entries stay: they may be an object store's credentials. Of two sources of a variable Kubernetes takes
# the last one.
ADDED_TO = {"envFrom"}
# The merge keys of Kubernetes' own strategic merge patch; any other list is replaced.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
}


def merge(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: str) -> dict[str, Any]:
    """`theirs` over `ours`; a null removes a key.

    Args:
        ours: the fields that the operator rendered.
        theirs: the fields that the user wrote.
        path: path of these fields in the resource, for messages.

    Raises:
        SpecError: when `theirs` has another type than ours, or a list entry without its merge key.
    """
    result = dict(ours)
    for key, value in theirs.items():
        place = f"{path}.{key}"
        mine = result.get(key)
        if value is None:
            result.pop(key, None)
        elif key in MERGE_KEYS:
            result[key] = _merge_list(mine or [], value, MERGE_KEYS[key], place)
        elif isinstance(mine, Mapping):
            if not isinstance(value, Mapping):
                raise SpecError(f"{place} must be a map, not {_type(value)}")
            result[key] = merge(mine, value, place)
        elif isinstance(mine, list) and not isinstance(value, list):
            raise SpecError(f"{place} must be a list, not {_type(value)}")
        elif isinstance(mine, list) and key in ADDED_TO:
            result[key] = [*mine, *value]
        else:
            result[key] = value
    return result


def _merge_list(ours: list[Any], theirs: Any, merge_key: str, path: str) -> list[Any]:
    if not isinstance(theirs, list):
        raise SpecError(f"{path} must be a list, not {_type(theirs)}")
    result = {item[merge_key]: item for item in ours}
    for index, item in enumerate(theirs):
        place = f"{path}[{index}]"
        if not isinstance(item, Mapping) or not isinstance(item.get(merge_key), (str, int)):
            raise SpecError(f"{place} must be a map with {merge_key!r}, by which it is merged")
        name = item[merge_key]
        result[name] = merge(result.get(name, {}), item, place)
    return list(result.values())


def _type(value: Any) -> str:
    return {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list", dict: "a map"}.get(
        type(value), type(value).__name__
    )
