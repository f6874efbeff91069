"""What ``schema=`` of extract means, worked out once: the fields, the text for the engine, how an answer is read.

Knows no pandas and no engine.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from typing import Any

from pagednb.checks import CLEAN_UNICODE, is_unicode
from pagednb.dataframe.results.whole_text import whole_text
from pagednb.errors import SchemaError
from pagednb.structured_output.field_spec import FieldSpec, read_fields
from pagednb.structured_output.instances import instance_of
from pagednb.structured_output.json_schema import compact
from pagednb.structured_output.python_types import is_json_schema, json_schema_of

# Python types of a field's JSON values
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "boolean": (bool,), "array": (list,), "object": (dict,)}
_TYPES |= {"integer": (int, float), "number": (int, float)}


@dataclasses.dataclass(frozen=True)
class AnswerSchema:
    """A schema in use.

    Attributes:
        types: the class or the dict of types that the user gave; None for JSON Schema.
        given: the JSON Schema of that, descriptions and all; ``of`` makes this very schema of it, but for the types.
        text: what the engine gets of it: compact, and narrower where it was open.
        fields: its tree.
    """

    types: Any
    given: str
    text: str
    fields: FieldSpec

    @classmethod
    def of(cls, schema: object) -> AnswerSchema:
        """Read a pydantic model, a dataclass, a TypedDict, a dict of types, or JSON Schema.

        Raises:
            SchemaError: it is none of these, has no fields, or holds a type that is not supported.
        """
        json_schema = json_schema_of(schema)
        types = None if is_json_schema(schema) else schema
        text = compact(json_schema)
        if not is_unicode(text):
            raise SchemaError("The schema is not valid Unicode (it holds a lone surrogate).", hint=CLEAN_UNICODE)
        return cls(types, json.dumps(json_schema, ensure_ascii=False), text, read_fields(json_schema))

    def parse(self, answer: str) -> dict[str, Any]:
        """Return the values of a whole answer, numbers in the type that their field has.

        Raises:
            ValueError: the answer is no JSON object of these fields, or holds a number too large for its column.
        """
        values = json.loads(answer)
        values = _repaired(values) if "\\ud" in answer.lower() else values
        if not isinstance(values, dict):
            raise ValueError("the answer is no JSON object")
        for name, field in self.fields.fields:
            if values.get(name) is not None:
                values[name] = _checked(name, values[name], field)
        return values

    @property
    def gives_dicts(self) -> bool:
        """Whether ``instance`` returns a dict."""
        return not isinstance(self.types, type) or typing.is_typeddict(self.types)

    def instance(self, values: dict[str, Any]) -> Any:
        """Return the values as an instance of the given class; as they are where no class was given."""
        return values if self.types is None else instance_of(self.types, values)


def _checked(name: str, value: Any, field: FieldSpec) -> Any:
    """A value in the type of its column. What does not fit was not constrained, and would spoil the whole column."""
    if field.kind == "enum" and value not in field.choices:
        raise ValueError(f"{value!r} is no choice of {name!r}")
    if type(value) not in _TYPES.get(field.kind, (type(value),)):
        raise ValueError(f"{name!r} is {value!r}, which is no {field.kind}")
    try:
        number = float(value) if field.kind in ("number", "integer") else 0.0
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or (field.kind == "integer" and not -(2**63) <= value < 2**63):
        raise ValueError(f"the number of {name!r} is too large for its column")
    if field.kind == "integer":
        if value != int(value):
            raise ValueError(f"{name!r} is {value!r}, which is no whole number")
        return int(value)
    return number if field.kind == "number" else value


def _repaired(value: Any) -> Any:
    """Texts with U+FFFD for each lone surrogate, which JSON can write (``\\ud800``) and no column can hold."""
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, list):
        return [_repaired(item) for item in value]
    if isinstance(value, dict):
        return {_repaired(name): _repaired(item) for name, item in value.items()}
    return value
