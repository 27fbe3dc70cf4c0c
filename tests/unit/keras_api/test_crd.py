"""The CustomResourceDefinition is valid for the API server, and documents every field for `kubectl explain`."""

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
    """All schemas in a schema, with their paths."""
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
def test_a_node_has_only_keywords_of_a_structural_schema(path: str):
    assert set(NODES[path]) <= ALLOWED


@pytest.mark.parametrize("path", NODES)
def test_a_node_has_one_type_that_is_not_null(path: str):
    node = NODES[path]
    if node.get("x-kubernetes-int-or-string"):
        assert "type" not in node
    elif not path.endswith("spec.serving.podTemplate.spec"):
        assert node["type"] in {"object", "array", "string", "integer", "number", "boolean"}


@pytest.mark.parametrize("path", [path for path in NODES if path.startswith((".spec", ".status")) and "[" not in path])
def test_a_field_has_a_description(path: str):
    assert NODES[path]["description"].strip()


@pytest.mark.parametrize("path", [path for path, node in NODES.items() if "default" in node])
def test_only_fields_of_the_spec_have_defaults(path: str):
    assert path.startswith(".spec")
    assert NODES[path]["default"] is not None


@pytest.mark.parametrize(
    "path",
    [path for path, node in NODES.items() if path.startswith(".spec") and node.get("type") in ("array", "string")],
)
def test_a_string_or_list_in_the_spec_has_a_bound(path: str):
    """The API server accepts CEL rules only if their cost is bounded, and etcd limits the size of objects."""
    node = NODES[path]
    assert {"maxLength", "maxItems", "enum"} & set(node) or "[additionalProperties]" in path


def test_the_crd_can_be_written_as_json():
    assert msgspec.json.decode(msgspec.json.encode(CRD)) == CRD


def test_the_crd_has_the_names_subresources_and_columns_for_kubectl():
    assert CRD["metadata"]["name"] == "kerasmodels.keras-operator.dev"
    assert CRD["spec"]["names"]["shortNames"] == ["km"]
    assert set(VERSION["subresources"]) == {"status", "scale"}
    assert [column["name"] for column in VERSION["additionalPrinterColumns"]] == [
        "Ready", "Status", "Revision", "Runtime", "Replicas", "URL", "Message", "Age",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["specReplicasPath", "statusReplicasPath", "labelSelectorPath"])
def test_the_scale_subresource_refers_to_existing_fields(name: str):
    assert VERSION["subresources"]["scale"][name] in NODES


@pytest.mark.parametrize("column", VERSION["additionalPrinterColumns"], ids=lambda column: column["name"])
def test_a_printer_column_shows_an_existing_field(column: dict[str, Any]):
    path = column["jsonPath"].split("[")[0]
    assert path in NODES or path.startswith(".metadata.")
