"""The values of the Helm chart: defaults and descriptions from values.yaml, types from values.schema.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent.parent / "charts/keras-operator"
# Types that a reader knows by their name, and whose pattern says less.
NAMED_TYPES = {"quantity": "quantity", "duration": "duration", "name": "string", "strings": "map of string"}


@dataclass(frozen=True)
class Value:
    """One value of the chart."""

    path: str
    kind: str
    default: str
    description: str


def values() -> list[Value]:
    """All values, in the order of values.yaml.

    Raises:
        KeyError: the schema does not have a value of values.yaml.
    """
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode), "values.yaml is not a mapping"
    return list(_leaves(root, schema, "", text.splitlines()))


def _leaves(node: yaml.MappingNode, schema: dict[str, Any], prefix: str, lines: list[str]) -> Iterator[Value]:
    """The values below a mapping. What the schema describes by reference, such as resources, is one value."""
    for key, child in node.value:
        path, property_ = f"{prefix}{key.value}", schema["properties"][key.value]
        if "properties" in property_:
            yield from _leaves(child, property_, f"{path}.", lines)
        else:
            default = yaml.SafeLoader("").construct_document(child)
            yield Value(path, _kind(property_), json.dumps(default), _comment_above(lines, key.start_mark.line))


def _comment_above(lines: list[str], number: int) -> str:
    """The text of the comment that ends directly above a line."""
    first = number
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(line.lstrip().removeprefix("#").strip() for line in lines[first:number])


def _kind(schema: dict[str, Any]) -> str:
    """A value's type in words."""
    if "enum" in schema:
        return " or ".join(f"`{choice}`" for choice in schema["enum"])
    if "anyOf" in schema:  # an empty string means the default
        return next(_kind(choice) for choice in schema["anyOf"] if "const" not in choice)
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return NAMED_TYPES.get(name, name)
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}"
    return str(schema["type"])
