"""From an answer's JSON values back to instances of the classes that the user gave as schema."""

from __future__ import annotations

import dataclasses
import enum
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pagednb.structured_output.annotations import choices_of, field_types, is_pydantic_model, is_union, unwrapped
from pagednb.structured_output.python_types import SCALARS


def instance_of(schema: object, value: Any) -> Any:
    """Return ``value`` as the schema's class writes it: models, dataclasses, enum members, tuples, floats.

    ``schema`` is a type or a dict of types, and ``value`` fits it. A TypedDict and a dict of types give dicts.

    Raises:
        Exception: whatever a class's own code raises, a pydantic validator among others.
    """
    return _instance(schema, value)


def _instance(annotation: Any, value: Any) -> Any:
    bare = unwrapped(annotation)
    if is_pydantic_model(bare):
        return bare.model_validate(value)
    if is_union(bare):
        return _instance(next(option for option in typing.get_args(bare) if _fits(option, value)), value)
    if isinstance(bare, enum.EnumMeta) or typing.get_origin(bare) is typing.Literal:
        return next(choice for choice in choices_of(bare) if _is_same(_plain(choice), value))
    if isinstance(value, list | dict):
        return _sequence(bare, value) if isinstance(value, list) else _object(bare, value)
    return bare(value) if bare in (int, float) else value


def _sequence(bare: Any, values: list[Any]) -> Any:
    items = typing.get_args(bare)
    if typing.get_origin(bare) is not tuple:
        return [_instance(items[0], value) for value in values]
    types = [items[0]] * len(values) if items[-1:] == (...,) else items
    return tuple(_instance(item, value) for item, value in zip(types, values, strict=True))


def _object(bare: Any, values: dict[str, Any]) -> Any:
    if typing.get_origin(bare) in (dict, Mapping):
        return {name: _instance(typing.get_args(bare)[1], value) for name, value in values.items()}
    types = field_types(bare)
    made = {name: _instance(types[name], value) for name, value in values.items()}
    return bare(**made) if isinstance(bare, type) and dataclasses.is_dataclass(bare) else made


def _fits(annotation: Any, value: Any) -> bool:
    """Whether ``value`` can be of this option of a union: by its JSON type, an object by its keys."""
    bare = unwrapped(annotation)
    origin = typing.get_origin(bare)
    if bare is None or (isinstance(bare, type) and bare in SCALARS):
        return _is_scalar(type(None) if bare is None else bare, value)
    if isinstance(bare, enum.EnumMeta) or origin is typing.Literal:
        return any(_is_same(_plain(choice), value) for choice in choices_of(bare))
    if is_union(bare):
        return any(_fits(option, value) for option in typing.get_args(bare))
    if origin in (list, tuple, Sequence):
        return isinstance(value, list) and _items_fit(bare, value)
    return isinstance(value, dict) and _keys_fit(bare, value)


def _items_fit(bare: Any, values: list[Any]) -> bool:
    items = typing.get_args(bare)
    if typing.get_origin(bare) is tuple and items[-1:] != (...,):
        return len(items) == len(values) and all(map(_fits, items, values))
    return all(_fits(items[0], value) for value in values)


def _keys_fit(bare: Any, values: dict[str, Any]) -> bool:
    if typing.get_origin(bare) in (dict, Mapping):
        return all(_fits(typing.get_args(bare)[1], value) for value in values.values())
    if is_pydantic_model(bare):
        names = {field.alias or name for name, field in bare.model_fields.items()}
        return values.keys() == names
    types = field_types(bare)
    return values.keys() <= types.keys() and all(_fits(types[name], value) for name, value in values.items())


def _plain(choice: Any) -> Any:
    return choice.value if isinstance(choice, enum.Enum) else choice


def _is_scalar(expected: type, value: Any) -> bool:
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if expected is int:
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    return type(value) is expected


def _is_same(expected: Any, value: Any) -> bool:
    """JSON's equality: true is not 1, but 1 is 1.0."""
    return isinstance(expected, bool) == isinstance(value, bool) and bool(expected == value)
