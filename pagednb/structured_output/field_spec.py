"""What a schema says about each field, as far as columns and prompts need it: a frozen tree read from JSON Schema."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pagednb.errors import SchemaError
from pagednb.structured_output.json_schema import Schema, resolve

Kind = Literal["string", "integer", "number", "boolean", "enum", "object", "array", "any"]
_KINDS: tuple[Kind, ...] = ("string", "integer", "number", "boolean", "object", "array")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """One field. ``kind`` is "any" for what has no single type, such as ``int | str``.

    Attributes:
        is_nullable: null is an answer.
        choices: the values of an enum in their order, null left out.
        description: of the schema, or None.
        fields: name -> field of an object with named properties, in order, as pairs.
        items: of an array whose items are all alike.
        bounds: JSON Schema's limits, such as ("maxLength", 24), as pairs.
    """

    kind: Kind
    is_nullable: bool = False
    choices: tuple[str | int | float | bool, ...] = ()
    description: str | None = None
    fields: tuple[tuple[str, FieldSpec], ...] = ()
    items: FieldSpec | None = None
    bounds: tuple[tuple[str, Any], ...] = ()


_BOUNDS: tuple[str, ...] = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_BOUNDS += ("minLength", "maxLength", "minItems", "maxItems", "format", "pattern")


def read_fields(schema: Schema) -> FieldSpec:
    """Return the tree of a schema whose answers are objects with named fields.

    Raises:
        SchemaError: the top is something else, or a reference leads nowhere.
    """
    spec = _read(schema, schema, ())
    if spec.kind != "object" or not spec.fields or spec.is_nullable:
        raise SchemaError(
            "schema must describe an object with named fields.", hint='For one value give {"name": type}.'
        )
    return spec


def _read(node: Any, root: Schema, seen: tuple[str, ...]) -> FieldSpec:
    if not isinstance(node, dict):  # true: anything
        return FieldSpec(kind="any", is_nullable=True)
    if "$ref" in node:
        return _read_reference(node, root, seen)
    description = node.get("description")
    if "enum" in node or "const" in node:
        return _read_enum(node.get("enum", [node.get("const")]), description)
    if options := node.get("anyOf") or node.get("oneOf"):
        return _read_options(options, root, seen, description)
    types = node.get("type", [])
    types = [types] if isinstance(types, str) else list(types)
    is_nullable = "null" in types or not types
    kinds = [kind for kind in _KINDS if kind in types]
    return FieldSpec(
        kind=kinds[0] if len(kinds) == 1 else "any",
        is_nullable=is_nullable,
        description=description,
        fields=tuple((name, _read(child, root, seen)) for name, child in node.get("properties", {}).items()),
        items=_read(node["items"], root, seen) if isinstance(node.get("items"), dict) else None,
        bounds=tuple((name, node[name]) for name in _BOUNDS if name in node),
    )


def _read_reference(node: Schema, root: Schema, seen: tuple[str, ...]) -> FieldSpec:
    name = node["$ref"]
    target = resolve(root, name)
    if name in seen:
        return FieldSpec(kind="any", is_nullable=True)  # a tree has an end; what is nested stays one value anyway
    spec = _read(target, root, (*seen, name))
    return dataclasses.replace(spec, description=node.get("description", spec.description))


def _read_enum(values: list[Any], description: str | None) -> FieldSpec:
    """An enum of scalars that differ as Python values; others (1 beside true, or lists) have no categories."""
    choices = tuple(value for value in values if value is not None)
    is_nullable = len(choices) < len(values)
    is_plain = all(isinstance(value, str | int | float) for value in choices)
    if not choices or not is_plain or len(set(choices)) < len({(type(value), value) for value in choices}):
        return FieldSpec(kind="any", is_nullable=is_nullable, description=description)
    return FieldSpec(
        kind="enum", is_nullable=is_nullable, choices=tuple(dict.fromkeys(choices)), description=description
    )


def _read_options(options: list[Any], root: Schema, seen: tuple[str, ...], description: str | None) -> FieldSpec:
    specs = [_read(option, root, seen) for option in options if option != {"type": "null"}]
    is_nullable = len(specs) < len(options) or any(spec.is_nullable for spec in specs)
    spec = specs[0] if len(specs) == 1 else FieldSpec(kind="any")
    return dataclasses.replace(spec, is_nullable=is_nullable, description=description or spec.description)
