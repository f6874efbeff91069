"""JSON Schemas that are none: refused by keyword and place, never with an error of Python's own."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.random_schemas import schemas

from pagednb.errors import SchemaError
from pagednb.structured_output.field_spec import read_fields
from pagednb.structured_output.json_schema import compact
from pagednb.structured_output.python_types import json_schema_of
from pagednb.structured_output.schema_check import _KEYWORDS


def of_field(schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}}


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({"type": "object", "properties": [1]}, "schema: 'properties' must be schemas by name, not [1]."),
        (of_field({"type": "integer", "minimum": "3"}), "schema.properties.a: 'minimum' must be a number, not '3'."),
        (of_field({"minLength": -1}), "schema.properties.a: 'minLength' must be a whole number from 0, not -1."),
        (of_field({"minimum": 3, "exclusiveMinimum": True}), "'exclusiveMinimum' must be a number"),
        (of_field(3), "schema: 'properties' must be schemas by name"),
        (of_field({"anyOf": []}), "'anyOf' must be a list of schemas"),
        (of_field({"anyOf": [{"enum": 3}]}), "schema.properties.a.anyOf[0]: 'enum' must be a list of values"),
        (of_field({"type": "int"}), "'type' must be one of string, integer"),
        (of_field({"type": [["string"]]}), "'type' must be one of string, integer"),
        (of_field({"items": [{"type": "integer"}]}), "Lists of fixed length have prefixItems."),
        (of_field({"$ref": 3}), "'$ref' must be a text"),
        (of_field({"description": ["x"]}), "'description' must be a text"),
        ({"type": "object", "required": [1]}, "schema: 'required' must be a list of texts"),
        (of_field({"type": "integer", "minumum": 3}), "no keyword 'minumum'. Did you mean 'minimum'?"),
        (of_field({"type": "string", "nullable": True}), "no keyword 'nullable'. For a value or null: \"type\": ["),
        (of_field({"type": "string", "zzz": 1}), "no keyword 'zzz'. Leave it out"),
    ],
)
def test_the_keyword_and_its_place_are_named(schema: Any, sentence: str) -> None:
    for given_as in (schema, json.dumps(schema)):
        with pytest.raises(SchemaError) as caught:
            json_schema_of(given_as)
        assert sentence in str(caught.value)


def test_keywords_of_other_tools_and_notes_are_taken() -> None:
    schema = of_field({"type": "string", "x-order": [1], "title": "T", "examples": [1], "default": None})
    assert json_schema_of(schema) == schema
    json_schema_of(of_field(True) | {"additionalProperties": False, "$schema": "https://json-schema.org/"})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(sorted(_KEYWORDS)), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(schema=st.dictionaries(st.sampled_from(sorted(_KEYWORDS)), VALUES, min_size=1, max_size=4))
def test_whatever_is_given_is_refused_by_a_sentence_or_read(schema: dict[str, Any]) -> None:
    try:
        read = json_schema_of(schema)
        compact(read)
        read_fields(read)
    except SchemaError:
        return


@settings(max_examples=100)
@given(schema=schemas)
def test_no_good_schema_is_refused(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json_schema_of(schema) == schema
