"""JSON Schema as plain dicts: read, references filled in, made narrow and short for the engine.

Knows no Python types and no pandas. Which keywords can be enforced is known where constraints are compiled, not here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pagednb.errors import SchemaError
from pagednb.structured_output.schema_check import check_schema

Schema = dict[str, Any]

MAX_INTEGER = 2**53 - 1
"""Whole numbers without bounds of their own go so far: every reader of JSON holds them exactly, and so does Int64."""

_NOTES = {"title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"}
_NOTES |= {"discriminator"}  # OpenAPI's, which pydantic writes beside oneOf
# keywords whose value is a schema, a list of schemas, or schemas by name; the rest holds data
_ONE = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else", "unevaluatedItems")
_MANY = ("anyOf", "allOf", "oneOf", "prefixItems")
_COMBINED = {"allOf", "oneOf", "not", "if", "contains", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems"}
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def parse_schema(text: str) -> Schema:
    """Return the JSON Schema that a text holds.

    Raises:
        SchemaError: the text is no JSON object, or no JSON Schema.
    """
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise SchemaError(f"schema is not valid JSON: {error}.") from error
    if not isinstance(schema, dict):
        raise SchemaError(f"schema must be a JSON object, not {text[:60]!r}.")
    check_schema(schema)
    return schema


def compact(schema: Schema) -> str:
    """Return the schema as the engine gets it: one line, notes left out, and narrower where it was open.

    An object with named properties gets no others unless it says so, and a whole number without bounds stays within
    ``MAX_INTEGER``: an answer that fits this schema fits the given one. Schemas that add up, and what they refer to,
    stay as they are.

    Raises:
        SchemaError: a reference leads nowhere.
    """
    short = _without_notes(schema)
    return json.dumps(_narrowed_where_possible(short), separators=(",", ":"), ensure_ascii=False)


def inlined(schema: Schema, *, all_required: bool = False, path: str = "schema") -> Schema:
    """Return the schema with every local reference replaced by what it names.

    Args:
        all_required: every property of every object becomes required, and no others are allowed.
        path: for messages.

    Raises:
        SchemaError: a reference leads elsewhere, or to a schema that contains itself.
    """

    def fill(node: Schema, seen: tuple[str, ...]) -> Schema:
        if "$ref" in node:
            name = node["$ref"]
            if name in seen:
                raise SchemaError(f"{path}: {name!r} contains itself.", hint="Give a type of fixed depth.")
            return fill(resolve(schema, name), (*seen, name)) | {key: node[key] for key in node.keys() & _NOTES}
        filled = _mapped(node, lambda child: fill(child, seen))
        if all_required and "properties" in filled:
            filled["required"] = list(filled["properties"])
            filled.setdefault("additionalProperties", False)
        return filled

    filled = fill(schema, ())
    return {key: value for key, value in filled.items() if key != "$defs"}


def resolve(root: Schema, reference: str) -> Schema:
    """Return what a reference such as ``#/$defs/Brand`` names.

    Raises:
        SchemaError: it leads nowhere, or out of the schema.
    """
    node: Any = root
    head, *steps = reference.split("/")
    for step in steps:
        name = _unescaped(step)
        node = node.get(name) if isinstance(node, dict) else None
    if head != "#" or not isinstance(node, dict):
        raise SchemaError(f"schema refers to {reference!r}, which it does not hold.")
    return node


def _unescaped(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")


def _narrowed_where_possible(root: Schema) -> Schema:
    narrowed = _narrowed(root)
    for reference in _open_references(root):
        steps = reference.split("/")[1:]
        if len(steps) != 2 or steps[0] not in ("$defs", "definitions"):
            return root  # a part of a part
        name = _unescaped(steps[1])
        narrowed[steps[0]][name] = root[steps[0]][name]
    return narrowed


def _open_references(root: Schema) -> set[str]:
    """References below schemas that add up: narrowing what they name could make the whole wider, or empty."""
    found: set[str] = set()

    def visit(node: Schema, is_open: bool) -> None:
        is_open = is_open or _adds_up(node)
        reference = node.get("$ref")
        if is_open and reference is not None and reference not in found:
            found.add(reference)
            visit(resolve(root, reference), True)
        for child in _children(node):
            visit(child, is_open)

    visit(root, False)
    return found


def _adds_up(node: Schema) -> bool:
    """Whether several schemas speak of one value, or one of them must not fit."""
    return not _COMBINED.isdisjoint(node) or ("properties" in node and not {"anyOf", "$ref"}.isdisjoint(node))


def _without_notes(node: Schema) -> Schema:
    return _mapped({key: value for key, value in node.items() if key not in _NOTES}, _without_notes)


def _narrowed(node: Schema) -> Schema:
    if _adds_up(node):
        return node
    node = dict(node)
    if "properties" in node and "patternProperties" not in node:
        node.setdefault("additionalProperties", False)
    if node.get("type") in ("integer", ["integer", "null"], ["null", "integer"]):
        lower = node.get("minimum", node.get("exclusiveMinimum"))
        upper = node.get("maximum", node.get("exclusiveMaximum"))
        if lower is None and (upper is None or upper > -MAX_INTEGER):
            node["minimum"] = -MAX_INTEGER
        if upper is None and (lower is None or lower < MAX_INTEGER):
            node["maximum"] = MAX_INTEGER
    return _mapped(node, _narrowed)


def _children(node: Schema) -> list[Schema]:
    children: list[Schema] = []

    def collect(child: Schema) -> Schema:
        children.append(child)
        return child

    _mapped(node, collect)
    return children


def _mapped(node: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """A copy of ``node`` with every schema directly in it changed."""

    def changed(child: Any) -> Any:
        return change(child) if isinstance(child, dict) else child

    result = dict(node)
    for key, value in node.items():
        if key in _ONE:
            result[key] = changed(value)
        elif key in _MANY and isinstance(value, list):
            result[key] = [changed(child) for child in value]
        elif key in _NAMED and isinstance(value, Mapping):
            result[key] = {name: changed(child) for name, child in value.items()}
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")
