"""Questions about Python's type annotations, whoever spelt them: typing, typing_extensions, pydantic, dataclasses.

pydantic is looked up among the loaded modules, never imported: who has a model has loaded it.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any


def unwrapped(annotation: Any) -> Any:
    """Return a type without the names and notes around it: aliases, NewType, Annotated, Required, NotRequired."""
    while (inner := _peeled(annotation)) is not annotation:
        annotation = inner
    return annotation


def notes_of(annotation: Any) -> list[Any]:
    """The metadata of every Annotated around a type, the innermost first, as they apply."""
    notes: list[Any] = []
    while (inner := _peeled(annotation)) is not annotation:
        if typing.get_origin(annotation) is typing.Annotated:
            notes = [*annotation.__metadata__, *notes]
        annotation = inner
    return notes


def _peeled(annotation: Any) -> Any:
    """The type one layer further in; a bare type is its own."""
    if isinstance(annotation, typing.NewType):
        return annotation.__supertype__
    if isinstance(annotation, _spellings("TypeAliasType")):  # `type X = ...`
        return annotation.__value__
    if typing.get_origin(annotation) in (typing.Annotated, *_spellings("Required"), *_spellings("NotRequired")):
        return typing.get_args(annotation)[0]
    return annotation


def is_union(annotation: Any) -> bool:
    """Whether ``annotation`` is ``X | Y``, ``Optional[X]`` or ``Union[X, Y]``."""
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def choices_of(bare: Any) -> tuple[Any, ...]:
    """Return the members of an Enum, or the values of a Literal."""
    members: tuple[Any, ...] = tuple(bare) if isinstance(bare, enum.EnumMeta) else typing.get_args(bare)
    return members


def field_types(owner: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, a TypedDict or a dict of types, in order.

    Raises:
        NameError: an annotation is a text that names nothing.
    """
    if isinstance(owner, Mapping):
        return dict(owner)
    hints = typing.get_type_hints(owner, include_extras=True)
    if dataclasses.is_dataclass(owner):
        return {field.name: hints[field.name] for field in dataclasses.fields(owner) if field.init}
    return hints


def is_required(owner: Any, name: str, hint: Any) -> bool:
    """Whether every value of ``owner`` has the field: only a TypedDict may leave some out."""
    if typing.get_origin(hint) in _spellings("NotRequired"):
        return False
    is_open = is_typed_dict(owner) and typing.get_origin(hint) not in _spellings("Required")
    return not is_open or name in owner.__required_keys__


def is_pydantic_model(annotation: object) -> bool:
    """Whether ``annotation`` is a class derived from pydantic's BaseModel; False while nobody has loaded pydantic."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def is_pydantic_field(note: object) -> bool:
    """Whether ``note`` is what pydantic.Field() returns."""
    fields = sys.modules.get("pydantic.fields")
    return fields is not None and isinstance(note, fields.FieldInfo)


def is_typed_dict(bare: Any) -> bool:
    """Whether ``bare`` is a TypedDict, of typing or typing_extensions."""
    return any(is_typeddict(bare) for is_typeddict in _spellings("is_typeddict"))


def is_dataclass_type(bare: Any) -> bool:
    """Whether ``bare`` is a dataclass itself, not an instance of one."""
    return isinstance(bare, type) and dataclasses.is_dataclass(bare)


def name_of(annotation: Any) -> str:
    """Return how to call a type in a message."""
    return annotation.__name__ if isinstance(annotation, type) else repr(annotation)


def _spellings(name: str) -> tuple[Any, ...]:
    """The things of that name in typing and, where someone has loaded it, in typing_extensions: they may differ."""
    modules = (typing, sys.modules.get("typing_extensions"))
    return tuple(getattr(module, name) for module in modules if hasattr(module, name))
