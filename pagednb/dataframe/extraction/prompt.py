"""A schema in words: one line a field, for the model to read before a row's own text."""

from __future__ import annotations

import dataclasses
import json

from pagednb.dataframe.extraction.answer_schema import AnswerSchema
from pagednb.dataframe.prompts.row_prompts import RowPrompts
from pagednb.structured_output.field_spec import FieldSpec

_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_WORDS |= {"object": "object", "array": "list", "any": "value"}
_LIMITS = {"minimum": "from", "maximum": "to", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}
_LIMITS |= {"multipleOf": "a multiple of", "format": "as"}
_RANGES = {"minLength": "at least {} characters", "maxLength": "at most {} characters"}
_RANGES |= {"minItems": "at least {} items", "maxItems": "at most {} items"}


def fields_in_words(spec: FieldSpec) -> str:
    """Return the lines that tell a model what to answer; nested fields are indented below their own."""
    return "\n".join(["Answer with a JSON object that has these fields:", *_described(spec, indent="")])


def schema_prompts(prompts: RowPrompts, schema: AnswerSchema) -> RowPrompts:
    """Return the prompts with the fields in words before them: the same for all rows, so it is computed once."""
    template = prompts.template.after(f"{fields_in_words(schema.fields)}\n\n")
    return dataclasses.replace(prompts, template=template)


def _described(spec: FieldSpec, indent: str) -> list[str]:
    lines = []
    for name, field in spec.fields:
        text = f": {field.description}" if field.description else ""
        lines.append(f"{indent}- {name} ({_form(field)}){text}")
        nested = field.items if field.items is not None else field
        lines += _described(nested, indent + "  ")
    return lines


def _form(field: FieldSpec) -> str:
    """The form of a value in words, such as "whole number from 1 to 5, or null"."""
    if field.kind == "enum":
        words = "one of " + ", ".join(json.dumps(choice, ensure_ascii=False) for choice in field.choices)
    elif field.items is not None:
        words = f"list of {_form(field.items)}"
    else:
        words = _WORDS[field.kind]
    limits = [f" {_LIMITS[name]} {bound}" for name, bound in field.bounds if name in _LIMITS]
    ranges = [", " + _RANGES[name].format(bound) for name, bound in field.bounds if name in _RANGES]
    return "".join([words, *limits, *ranges, ", or null" if field.is_nullable else ""])
