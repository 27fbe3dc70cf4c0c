"""Addresses of files. A field is marked here as an address; its rules come from the schemes that can be opened.

A scheme (s3, https, ...) is one module of `keras_store.sources`. `keras_api.crd` gets the schemes as an argument and
writes their patterns, rules and names into the CustomResourceDefinition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from keras_api.resource.cel import cel, cel_string

ADDRESS = "x-address"
"""Marks a schema node whose value is the address of a file."""
SOURCE_OPTIONS = "x-source-options"
"""Marks the schema node that has the options of the schemes as fields."""
_VALIDATIONS = "x-kubernetes-validations"

_NO_RELATIVE_SEGMENTS = cel(
    "!self.contains('/../') && !self.contains('/./')", "must not contain . or .. as a path segment"
)


@dataclass(frozen=True, kw_only=True)
class AddressScheme:
    """What the CustomResourceDefinition contains about one scheme."""

    pattern: str
    """Regular expression of the scheme's names, such as ``https?``."""
    forms: tuple[str, ...]
    """Forms of an address as the documentation shows them, such as ``s3://bucket/key``."""
    rules: tuple[dict[str, str], ...] = ()
    """CEL rules of an address. Each rule must hold for the addresses of all other schemes."""
    option_rules: tuple[dict[str, str], ...] = ()
    """CEL rules of `spec.source`, for options that only this scheme has."""
    credentials_help: str = ""
    """The keys of the Secret in words, such as ``API_KEY for hub``; empty for a scheme without credentials."""
    fixed_fingerprint: str | None = None
    """Fingerprint of every file, for a scheme whose files the operator cannot access: it does not poll them.
    None: the operator asks the storage for the fingerprint."""


def file_address(*rules: dict[str, str], ending: str = "", message: str = "must be {addresses}") -> dict[str, Any]:
    """Schema extension of a field that holds the address of a file.

    Args:
        rules: further CEL rules of the field.
        ending: regular expression that the address must end with.
        message: of the rule for scheme and ending.
    """
    return {ADDRESS: {"ending": ending, "message": message}, _VALIDATIONS: list(rules)}


def source_options() -> dict[str, Any]:
    """Schema extension of the object whose fields are the options of the schemes."""
    return {SOURCE_OPTIONS: True}


def insert_schemes(node: dict[str, Any], schemes: Sequence[AddressScheme]) -> None:
    """Replace the markers of a schema node by the rules of the schemes, and placeholders by their names.

    The placeholders are ``{addresses}`` (the forms of an address), ``{schemes}`` (the names), ``{credentials}`` (the
    keys of the Secret) and ``{unpolled}`` (addresses of the schemes that the operator does not poll).
    """
    rules: list[dict[str, str]] = []
    if marker := node.pop(ADDRESS, None):
        names = "|".join(scheme.pattern for scheme in schemes)
        pattern = rf"^({names})://[^/\s]+/\S+{marker['ending']}$"
        rules = [
            cel(f"self.matches({cel_string(pattern)})", _filled(marker["message"], schemes)),
            _NO_RELATIVE_SEGMENTS,
            *(rule for scheme in schemes for rule in scheme.rules),
        ]
    if node.pop(SOURCE_OPTIONS, False):
        rules = [rule for scheme in schemes for rule in scheme.option_rules]
    if rules:
        node[_VALIDATIONS] = [*rules, *node.get(_VALIDATIONS, [])]
    if "description" in node:
        node["description"] = _filled(node["description"], schemes)


def alternatives(words: Iterable[str]) -> str:
    """Words as a choice: ``a, b or c``."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _filled(text: str, schemes: Sequence[AddressScheme]) -> str:
    forms = [form for scheme in schemes for form in scheme.forms]
    unpolled = [f"{_name(scheme.forms[0])}://" for scheme in schemes if scheme.fixed_fingerprint is not None]
    words = {
        "{addresses}": alternatives(forms),
        "{schemes}": alternatives(_name(form) for form in forms),
        "{credentials}": "; ".join(scheme.credentials_help for scheme in schemes if scheme.credentials_help),
        "{unpolled}": f"a {alternatives(unpolled)} address" if unpolled else "",
    }
    for placeholder, word in words.items():
        text = text.replace(placeholder, word)
    return text


def _name(form: str) -> str:
    return form.partition("://")[0]
