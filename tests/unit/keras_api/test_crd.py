"""The CustomResourceDefinition is one that the API server takes, and that `kubectl explain` can explain."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from keras_api.crd import custom_resource_definition
from keras_store.sources.registry import SCHEMES

CRD = custom_resource_definition(SCHEMES)
VERSION = CRD["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[{key}]")


NODES = dict(nodes(SCHEMA))
ALLOWED = {
    "additionalProperties", "default", "description", "enum", "format", "items", "maxItems", "maxLength",
    "maxProperties", "maximum", "minItems", "minLength", "minimum", "pattern", "properties", "required", "type",
    "x-kubernetes-int-or-string", "x-kubernetes-list-map-keys", "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
}  # fmt: skip


@pytest.mark.parametrize("path", NODES)
def test_a_node_says_only_what_a_structural_schema_may_say(path: str):
    assert set(NODES[path]) <= ALLOWED


@pytest.mark.parametrize("path", NODES)
def test_a_node_has_one_type_and_it_is_not_null(path: str):
    node = NODES[path]
    if node.get("x-kubernetes-int-or-string"):
        assert "type" not in node
    elif not path.endswith("spec.serving.podTemplate.spec"):
        assert node["type"] in {"object", "array", "string", "integer", "number", "boolean"}


@pytest.mark.parametrize("path", [path for path in NODES if path.startswith((".spec", ".status")) and "[" not in path])
def test_a_field_has_a_description(path: str):
    assert NODES[path]["description"].strip()


@pytest.mark.parametrize("path", [path for path, node in NODES.items() if "default" in node])
def test_only_what_a_user_writes_has_defaults(path: str):
    assert path.startswith(".spec")
    assert NODES[path]["default"] is not None


@pytest.mark.parametrize(
    "path",
    [path for path, node in NODES.items() if path.startswith(".spec") and node.get("type") in ("array", "string")],
)
def test_what_a_user_writes_has_a_bound(path: str):
    """CEL rules are only accepted where their cost is bounded, and etcd's objects are small."""
    node = NODES[path]
    assert {"maxLength", "maxItems", "enum"} & set(node) or "[additionalProperties]" in path


def test_the_document_is_plain_data():
    assert msgspec.json.decode(msgspec.json.encode(CRD)) == CRD


def test_names_status_and_scale_are_what_kubectl_shows():
    assert CRD["metadata"]["name"] == "kerasmodels.keras-operator.dev"
    assert CRD["spec"]["names"]["shortNames"] == ["km"]
    assert set(VERSION["subresources"]) == {"status", "scale"}
    assert [column["name"] for column in VERSION["additionalPrinterColumns"]] == [
        "Ready", "Status", "Revision", "Runtime", "Replicas", "URL", "Message", "Age",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["specReplicasPath", "statusReplicasPath", "labelSelectorPath"])
def test_the_scale_subresource_points_at_fields_that_exist(name: str):
    assert VERSION["subresources"]["scale"][name] in NODES


@pytest.mark.parametrize("column", VERSION["additionalPrinterColumns"], ids=lambda column: column["name"])
def test_a_printer_column_shows_a_field_that_exists(column: dict[str, Any]):
    path = column["jsonPath"].split("[")[0]
    assert path in NODES or path.startswith(".metadata.")
