"""The CustomResourceDefinition, generated from the types in `keras_api.resource` and the schemes of their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from keras_api import resource
from keras_api.resource import (
    MAX_NAME_LENGTH,
    AddressScheme,
    KerasModelSpec,
    KerasModelStatus,
    cel,
    cel_string,
    insert_schemes,
)
from keras_api.scalars import IN_WORDS

_PRINTER_COLUMNS = [
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Status", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Revision", "string", ".status.servingRevision", 0),
    ("Runtime", "string", ".status.model.runtime", 0),
    ("Replicas", "integer", ".status.readyReplicas", 0),
    ("URL", "string", ".status.url", 0),
    ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
]


def custom_resource_definition(schemes: Sequence[AddressScheme]) -> dict[str, Any]:
    """The CRD as a plain dict, ready to be written as YAML.

    Args:
        schemes: schemes that an address of a file may have (`keras_store.sources.registry.SCHEMES`).
    """
    name_rule = cel(
        f"self.metadata.name.size() <= {MAX_NAME_LENGTH} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        f"metadata.name must be at most {MAX_NAME_LENGTH} lower-case letters, digits and '-', begin with a letter and "
        "end with a letter or digit (it names the Service)",
    )
    schema = {
        "type": "object",
        "description": "A Keras model to serve.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural_schema(KerasModelSpec, schemes),
            "status": structural_schema(KerasModelStatus, schemes, defaults=False),
        },
        "x-kubernetes-validations": [name_rule],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.PLURAL}.{resource.GROUP}"},
        "spec": {
            "group": resource.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": resource.KIND,
                "listKind": f"{resource.KIND}List",
                "plural": resource.PLURAL,
                "singular": resource.KIND.lower(),
                "shortNames": ["km"],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": resource.VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}
                        for name, kind, path, priority in _PRINTER_COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.serving.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                }
            ],
        },
    }


@dataclass(frozen=True)
class _Context:
    """What every node of one schema needs."""

    components: dict[str, Any]
    schemes: Sequence[AddressScheme]
    defaults: bool


def structural_schema(
    kind: type[msgspec.Struct], schemes: Sequence[AddressScheme], *, defaults: bool = True
) -> dict[str, Any]:
    """OpenAPI v3 schema of a type in the form Kubernetes accepts: no references, no nulls, no closed objects.

    Args:
        kind: the type.
        schemes: schemes that an address of a file may have.
        defaults: whether the API server fills in absent fields; False for status, where an absent field is unknown.
    """
    (reference,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    return _structural(reference, _Context(components, schemes, defaults))


def _structural(node: dict[str, Any], context: _Context) -> dict[str, Any]:
    node = dict(node)
    if "$ref" in node:
        node = {**context.components[node.pop("$ref")], **node}
    if "anyOf" in node:
        alternatives = [option for option in node.pop("anyOf") if option.get("type") != "null"]
        # Either an optional value, or an int-or-string, which Kubernetes writes without the alternatives.
        if len(alternatives) == 1:
            node = {**_structural(alternatives[0], context), **node}
    node.pop("title", None)
    if "enum" in node:
        # A structural schema must have a type; every enum here consists of strings.
        node.setdefault("type", "string")
    insert_schemes(node, context.schemes)
    if context.defaults and (words := IN_WORDS.get(node.get("pattern", ""))):
        # A rule reports an invalid value in words; a pattern reports the regular expression.
        value = "string(self)" if node.get("x-kubernetes-int-or-string") else "self"
        rule = cel(f"{value}.matches({cel_string(node.pop('pattern'))})", words)
        node["x-kubernetes-validations"] = [rule, *node.get("x-kubernetes-validations", [])]
    # A structural schema must not close an object: the API server rejects or prunes unknown fields itself.
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    if node.get("additionalProperties") == {} or node.get("x-kubernetes-preserve-unknown-fields"):
        node.pop("additionalProperties", None)
    if "properties" in node:
        node["properties"] = {name: _structural(child, context) for name, child in node["properties"].items()}
        if not node.get("required"):
            node.pop("required", None)
    for key in ("items", "additionalProperties"):
        if key in node:
            node[key] = _structural(node[key], context)
    if not context.defaults or node.get("default") in (None, {}, []):
        node.pop("default", None)
    return node
