"""From Python types to JSON Schema: what ``schema=`` takes besides JSON Schema itself.

A pydantic model, a dataclass, a TypedDict, a dict of types, and inside them enums, literals, optional values, lists,
tuples and nested ones. Every field is asked for, whether or not it has a default, and no other key may appear, so that
an answer has the same keys in every row. Anything else is refused by name and place.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pagednb.errors import SchemaError
from pagednb.structured_output.annotations import (
    choices_of,
    field_types,
    is_dataclass_type,
    is_pydantic_field,
    is_pydantic_model,
    is_required,
    is_typed_dict,
    is_union,
    name_of,
    notes_of,
    unwrapped,
)
from pagednb.structured_output.json_schema import Schema, inlined, parse_schema

SCALARS: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
SEVERAL = (
    "Use str, int, float, bool, an Enum, Literal, list[...], X | None, a dataclass, a TypedDict or a dict of them."
)
# fields of the markers of annotated_types (Ge, Interval, Len, ...) by what JSON Schema calls them
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_BOUNDS |= {"multiple_of": "multipleOf"}
_LENGTHS = {"string": {"min_length": "minLength", "max_length": "maxLength"}}
_LENGTHS |= {"array": {"min_length": "minItems", "max_length": "maxItems"}}


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a type stands: its path for messages, and the classes around it, so that none contains itself."""

    path: str = "schema"
    owners: tuple[Any, ...] = ()

    def at(self, name: object) -> _Place:
        return _Place(f"{self.path}.{name}", self.owners)

    def inside(self, owner: Any) -> _Place:
        if owner in self.owners:
            self.refuse(f"{owner.__name__} contains itself", "Give a type of fixed depth.")
        return _Place(self.path, (*self.owners, owner))

    def refuse(self, what: str, hint: str = SEVERAL) -> typing.NoReturn:
        raise SchemaError(f"{self.path}: {what}.", hint=hint)


def json_schema_of(schema: object) -> Schema:
    """Return the JSON Schema of what a user gave as ``schema=``; descriptions stay in it.

    A str is JSON, a dict of JSON values is a JSON Schema as it stands, any other dict has types as values. A
    ``response_format`` of OpenAI's API is the schema in it.

    Raises:
        SchemaError: a type that JSON Schema, or this package, has no words for; its path is named.
    """
    if not is_json_schema(schema):
        return _schema_of(schema, _Place())
    if isinstance(schema, Mapping) and schema.get("type") == "json_schema":
        inner = schema.get("json_schema")
        if not isinstance(inner, Mapping) or "schema" not in inner:
            raise SchemaError('"type": "json_schema" needs "json_schema": {"schema": …}.', hint="Or give the schema.")
        return json_schema_of(inner["schema"])
    return parse_schema(schema if isinstance(schema, str) else json.dumps(schema))


def is_json_schema(schema: object) -> bool:
    """Whether ``schema`` is a text, or a dict that holds JSON values and no types."""
    if isinstance(schema, str) or not isinstance(schema, Mapping):
        return isinstance(schema, str)
    try:
        return bool(schema) and bool(json.dumps(schema))
    except (TypeError, ValueError):
        return False


def _schema_of(annotation: Any, place: _Place) -> Schema:
    bare = unwrapped(annotation)
    notes = notes_of(annotation)
    if is_pydantic_model(bare) or any(is_pydantic_field(note) for note in notes):
        return _pydantic_schema(annotation, place)
    schema = _bare_schema(bare, place)
    for note in notes:
        schema = _with_note(schema, note, place)
    return schema


def _bare_schema(bare: Any, place: _Place) -> Schema:
    origin = typing.get_origin(bare)
    if bare is None or (isinstance(bare, type) and bare in SCALARS):
        return {"type": SCALARS[type(None) if bare is None else bare]}
    if origin is typing.Literal or isinstance(bare, enum.EnumMeta):
        return _enum_schema(bare, place)
    if is_union(bare):
        return {"anyOf": [_schema_of(option, place) for option in typing.get_args(bare)]}
    if origin in (list, tuple, Sequence):
        return _array_schema(bare, place)
    if origin in (dict, Mapping):
        return _map_schema(bare, place)
    if not (isinstance(bare, Mapping) or is_typed_dict(bare) or is_dataclass_type(bare)):
        place.refuse(f"{name_of(bare)} is not supported")
    return _object_schema(bare, place)


def _enum_schema(bare: Any, place: _Place) -> Schema:
    values = [_json_value(choice, place) for choice in choices_of(bare)]
    if not values:
        place.refuse(f"{name_of(bare)} has no members")
    return {"enum": values}


def _array_schema(bare: Any, place: _Place) -> Schema:
    items = typing.get_args(bare)
    if typing.get_origin(bare) is tuple and items[-1:] != (...,):
        schemas = [_schema_of(item, place.at(i)) for i, item in enumerate(items)]
        return {"type": "array", "prefixItems": schemas, "items": False, "minItems": len(items)}
    return {"type": "array", "items": _schema_of(items[0], place.at("items"))}


def _map_schema(bare: Any, place: _Place) -> Schema:
    key, value = typing.get_args(bare)
    if key is not str:
        place.refuse(f"the keys of {name_of(bare)} are not str", "JSON has texts as keys only.")
    return {"type": "object", "additionalProperties": _schema_of(value, place.at("values"))}


def _object_schema(owner: Any, place: _Place) -> Schema:
    place = place if isinstance(owner, Mapping) else place.inside(owner)
    try:
        hints = field_types(owner)
    except NameError as error:
        place.refuse(f"an annotation cannot be read ({error})", "Define the type before the class that uses it.")
    if not hints:
        place.refuse("there are no fields", "Give at least one.")
    for name in hints:
        if not isinstance(name, str):
            place.refuse(f"the key {name!r} is not a text")
    properties = {name: _schema_of(hint, place.at(name)) for name, hint in hints.items()}
    for name, text in _dataclass_descriptions(owner).items():
        properties[name] = properties[name] | {"description": text}
    required = [name for name, hint in hints.items() if is_required(owner, name, hint)]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _dataclass_descriptions(owner: Any) -> dict[str, str]:
    fields = dataclasses.fields(owner) if is_dataclass_type(owner) else ()
    return {field.name: field.metadata["description"] for field in fields if "description" in field.metadata}


def _json_value(value: Any, place: _Place) -> Any:
    plain = value.value if isinstance(value, enum.Enum) else value
    if not isinstance(plain, str | int | float | None) or (isinstance(plain, float) and not math.isfinite(plain)):
        place.refuse(f"the value {value!r} is no JSON value", "Use texts, numbers, True, False or None.")
    return plain


def _with_note(schema: Schema, note: Any, place: _Place) -> Schema:
    """Add one piece of metadata: a text describes; a range, a pattern and the markers of annotated_types constrain."""
    if isinstance(note, str):
        return schema | {"description": note}
    kind = schema.get("type")
    if isinstance(note, range) and note.step == 1 and len(note) and kind == "integer":
        return schema | {"minimum": note[0], "maximum": note[-1]}
    if isinstance(note, re.Pattern) and isinstance(note.pattern, str) and not note.flags & ~re.UNICODE:
        return schema | {"pattern": note.pattern}
    given = _marker_fields(note)
    known = _LENGTHS.get(str(kind), _BOUNDS if kind in ("integer", "number") else {})
    if not given or given.keys() - known.keys():
        hint = "Use a text as description, range(...), re.compile(...), or Ge, Le, Gt, Lt, Len of annotated_types."
        place.refuse(f"the annotation {note!r} is not supported here", hint)
    return schema | {known[name]: value for name, value in given.items()}


def _marker_fields(note: Any) -> dict[str, Any]:
    """What a marker of annotated_types says, its neutral values left out; {} for anything else."""
    if not is_dataclass_type(type(note)):
        return {}
    given = {field.name: getattr(note, field.name) for field in dataclasses.fields(note)}
    return {name: value for name, value in given.items() if value is not None and (name, value) != ("min_length", 0)}


def _pydantic_schema(annotation: Any, place: _Place) -> Schema:
    """pydantic's own JSON Schema of a type, references filled in, every field asked for."""
    pydantic = sys.modules["pydantic"]
    try:
        schema = pydantic.TypeAdapter(annotation).json_schema()
    except pydantic.errors.PydanticUserError as error:
        place.refuse(f"pydantic has no JSON Schema for {name_of(annotation)} ({str(error).splitlines()[0]})")
    return inlined(schema, all_required=True, path=place.path)
