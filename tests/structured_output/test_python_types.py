"""Types become schemas that jsonschema agrees with: values of the types fit, others do not, and instances come back."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import subprocess
import sys
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal

import annotated_types
import jsonschema
import pydantic
import pytest
import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from pagednb.errors import SchemaError
from pagednb.structured_output.field_spec import read_fields
from pagednb.structured_output.instances import instance_of
from pagednb.structured_output.json_schema import MAX_INTEGER, compact, inlined
from pagednb.structured_output.python_types import json_schema_of


class Colour(enum.Enum):
    RED = "red"
    TWO = 2


@dataclasses.dataclass
class Brand:
    name: str
    colour: Colour = dataclasses.field(default=Colour.RED, metadata={"description": "of the label"})
    sizes: tuple[int, str] = (1, "m")


class Item(TypedDict):
    brand: Brand
    price: typing_extensions.NotRequired[float]


class Plain(typing.TypedDict, total=False):
    a: typing.Required[int]
    b: typing.NotRequired[int]
    c: int


class Product(pydantic.BaseModel):
    title: Annotated[str, pydantic.Field(max_length=5, description="as printed")]
    items: list[Item] = []
    rating: Literal[1, 2, None] = None


class Tree(pydantic.BaseModel):
    children: list[Tree]


@dataclasses.dataclass
class Chain:
    next: Chain | None


@dataclasses.dataclass
class Typed:
    """A type, a strategy of its values as JSON, and as instances."""

    type: Any
    value: st.SearchStrategy[Any]
    instance: Callable[[Any], Any] = lambda value: value


INTEGERS = st.integers(-MAX_INTEGER, MAX_INTEGER)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = [
    Typed(str, st.text(max_size=5)),
    Typed(int, INTEGERS),
    Typed(float, FLOATS),
    Typed(bool, st.booleans()),
    Typed(Colour, st.sampled_from(["red", 2]), Colour),
    Typed(Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    Typed(Annotated[int, range(1, 6), "stars"], st.integers(1, 5)),
    Typed(Annotated[int, annotated_types.Interval(gt=0, le=9)], st.integers(1, 9)),
    Typed(Annotated[str, annotated_types.Len(1, 3)], st.text(min_size=1, max_size=3)),
    Typed(Annotated[str, re.compile("^[ab]+$")], st.text("ab", min_size=1)),
    Typed(Annotated[int, pydantic.Field(ge=3)], st.integers(3, MAX_INTEGER)),
]


def listed(inner: Typed) -> Typed:
    return Typed(
        list[inner.type],
        st.lists(inner.value, max_size=3),
        lambda values: [inner.instance(value) for value in values],
    )


def optional(inner: Typed) -> Typed:
    return Typed(
        inner.type | None if not isinstance(inner.type, dict) else inner.type,
        st.none() | inner.value if not isinstance(inner.type, dict) else inner.value,
        lambda value: None if value is None else inner.instance(value),
    )


def mapped(inner: Typed) -> Typed:
    return Typed(
        dict[str, inner.type],
        st.dictionaries(st.text(max_size=3), inner.value, max_size=3),
        lambda values: {key: inner.instance(value) for key, value in values.items()},
    )


def as_dataclass(inner: dict[str, Typed]) -> Typed:
    made = dataclasses.make_dataclass("Made", [(name, field.type) for name, field in inner.items()])
    return Typed(
        made,
        st.fixed_dictionaries({name: field.value for name, field in inner.items()}),
        lambda values: made(**{name: inner[name].instance(value) for name, value in values.items()}),
    )


def as_typed_dict(inner: dict[str, Typed]) -> Typed:
    made = TypedDict("Made", {name: field.type for name, field in inner.items()})
    return Typed(
        made,
        st.fixed_dictionaries({name: field.value for name, field in inner.items()}),
        lambda values: {name: inner[name].instance(value) for name, value in values.items()},
    )


def as_model(inner: dict[str, Typed]) -> Typed:
    made = pydantic.create_model("Made", **{name: (field.type, ...) for name, field in inner.items()})
    return Typed(made, st.fixed_dictionaries({name: field.value for name, field in inner.items()}), made.model_validate)


NAMES = st.sampled_from(["brand", "year", "title", "type", "properties", "ünï", "of_it"])
TYPES: st.SearchStrategy[Typed] = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(listed),
        inner.map(optional),
        inner.map(mapped),
        st.dictionaries(NAMES, inner, min_size=1, max_size=3).flatmap(
            lambda fields: st.sampled_from([as_dataclass, as_typed_dict, as_model]).map(lambda make: make(fields))
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, TYPES, min_size=1, max_size=4), st.data())
def test_values_fit_the_schema_and_come_back_as_instances(fields: dict[str, Typed], data: st.DataObject) -> None:
    types = {name: field.type for name, field in fields.items()}
    text = compact(json_schema_of(types))
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    value = data.draw(st.fixed_dictionaries({name: field.value for name, field in fields.items()}))
    jsonschema.validate(value, schema)
    assert instance_of(types, value) == {name: fields[name].instance(item) for name, item in value.items()}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value | {"surplus": 1}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({name: value[name] for name in list(value)[1:]}, schema)
    assert [name for name, _ in read_fields(json_schema_of(types)).fields] == list(types)
    assert compact(schema) == text  # nothing is left to narrow


JUNK = st.one_of(st.none(), st.booleans(), st.integers(), FLOATS, st.text(max_size=3), st.lists(st.none(), max_size=2))


@settings(max_examples=200, deadline=None)
@given(TYPES, JUNK)
def test_pydantic_agrees_on_what_fits(field: Typed, value: Any) -> None:
    schema = json.loads(compact(json_schema_of({"x": field.type})))
    model = pydantic.create_model("Model", x=(field.type, ...))
    if jsonschema.Draft202012Validator(schema).is_valid({"x": value}):
        model.model_validate_json(json.dumps({"x": value}))


@settings(max_examples=200, deadline=None)
@given(TYPES, JUNK)
def test_the_compact_schema_is_no_wider_than_the_given_one(field: Typed, value: Any) -> None:
    given_schema = pydantic.TypeAdapter(field.type).json_schema()
    compact_schema = json.loads(compact(given_schema))
    if jsonschema.Draft202012Validator(compact_schema).is_valid(value):
        jsonschema.validate(value, given_schema)


def test_nested_classes() -> None:
    schema = json_schema_of(Product)
    spec = dict(read_fields(schema).fields)
    assert schema["required"] == ["title", "items", "rating"]
    assert spec["title"].description == "as printed"
    assert (spec["rating"].kind, spec["rating"].choices, spec["rating"].is_nullable) == ("enum", (1, 2), True)
    brand = {"name": "x", "colour": 2, "sizes": [3, "l"]}
    value = {"title": "t", "items": [{"brand": brand, "price": 1.0}], "rating": None}
    jsonschema.validate(value, json.loads(compact(schema)))
    made = instance_of(Product, value)
    assert made.items[0]["brand"] == Brand("x", Colour.TWO, (3, "l"))
    assert instance_of(Item, {"brand": brand}) == {"brand": Brand("x", Colour.TWO, (3, "l"))}
    assert json_schema_of(Item)["required"] == ["brand"]
    assert json_schema_of(Plain)["required"] == ["a"]
    assert json_schema_of(Brand)["properties"]["colour"]["description"] == "of the label"


def test_options_of_a_union_are_told_apart() -> None:
    types = {"x": Brand | list[Colour] | Literal["none"] | dict[str, int] | bool}
    brand = {"name": "x", "colour": "red", "sizes": [1, "s"]}
    for value, made in [
        (brand, Brand("x", Colour.RED, (1, "s"))),
        (["red"], [Colour.RED]),
        ("none", "none"),
        ({"a": 1}, {"a": 1}),
        (True, True),
    ]:
        assert instance_of(types, {"x": value}) == {"x": made}


def test_json_schema_is_taken_as_it_stands() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string", "title": "T"}}, "description": "d"}
    assert json_schema_of(schema) == json_schema_of(json.dumps(schema)) == schema
    narrow = '{"type":"object","properties":{"title":{"type":"string"}},"additionalProperties":false}'
    assert compact(schema) == narrow


def test_schemas_that_add_up_are_not_narrowed() -> None:
    parts = [{"properties": {name: {"type": "integer"}}, "required": [name]} for name in "ab"]
    assert jsonschema.Draft202012Validator(json.loads(compact({"allOf": parts}))).is_valid({"a": 1, "b": 2})


def test_an_object_beside_schemas_that_add_up_is_narrowed() -> None:
    bounded = {"allOf": [{"type": "integer"}, {"minimum": 3}]}
    schema = {"type": "object", "properties": {"a": bounded, "b": {"type": "object", "properties": {"c": {}}}}}
    narrow = json.loads(compact(schema))
    assert narrow["additionalProperties"] is narrow["properties"]["b"]["additionalProperties"] is False
    assert narrow["properties"]["a"] == bounded


def test_what_schemas_that_add_up_refer_to_stays_open() -> None:
    part = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    schema = {
        "$defs": {"part": part, "other": part},
        "type": "object",
        "properties": {
            "whole": {"$ref": "#/$defs/part", "properties": {"b": {"type": "boolean"}}, "required": ["b"]},
            "alone": {"$ref": "#/$defs/other"},
        },
    }
    narrow = json.loads(compact(schema))
    assert narrow["$defs"] == {"part": part, "other": part | {"additionalProperties": False}}
    validator = jsonschema.Draft202012Validator(narrow)
    assert validator.is_valid({"whole": {"a": True, "b": True}, "alone": {"a": True}})
    assert not validator.is_valid({"alone": {"a": True, "b": True}})
    assert json.loads(compact({**schema, "oneOf": [{"$ref": "#/properties/alone"}]})) == schema | {
        "oneOf": [{"$ref": "#/properties/alone"}]
    }


def test_references_are_filled_in() -> None:
    text = '{"$defs": {"a": {"type": "integer"}}, "type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}}'
    assert inlined(json_schema_of(text))["properties"] == {"x": {"type": "integer"}}
    assert read_fields(json_schema_of(text)).fields[0][1].kind == "integer"
    with pytest.raises(SchemaError, match="'#/\\$defs/b', which it does not hold"):
        read_fields(json_schema_of(text.replace("$defs/a", "$defs/b")))


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({}, "schema: there are no fields"),
        ({"a": {"b": typing.Any}}, r"schema\.a\.b: Any is not supported"),
        ({"a": list}, r"schema\.a: list is not supported"),
        ({"a": list[set[int]]}, r"schema\.a\.items: set\[int\] is not supported"),
        ({"a": dict[int, int]}, r"schema\.a: the keys of dict\[int, int\] are not str"),
        ({"a": Annotated[str, annotated_types.Ge(3)]}, r"schema\.a: the annotation Ge\(ge=3\) is not supported here"),
        ({"a": Literal[b"x"]}, r"schema\.a: the value b'x' is no JSON value"),
        ({3: int}, "the key 3 is not a text"),
        ({"a": Tree}, r"schema\.a: '#/\$defs/Tree' contains itself"),
        (Chain, r"schema\.next: Chain contains itself"),
        (3, "schema: 3 is not supported"),
        ("[1]", "must be a JSON object"),
        ("{", "not valid JSON"),
        ('{"enum": [NaN]}', "NaN is no JSON value"),
    ],
)
def test_what_is_not_supported_is_named(schema: Any, sentence: str) -> None:
    with pytest.raises(SchemaError, match=sentence):
        json_schema_of(schema)


@pytest.mark.parametrize("schema", [int, list[int], {"type": "string"}, {"type": "object"}, Brand | None])
def test_a_schema_has_named_fields(schema: Any) -> None:
    with pytest.raises(SchemaError, match="an object with named fields"):
        read_fields(json_schema_of(schema))


def test_pydantic_is_never_imported() -> None:
    code = "import sys, pagednb.structured_output.python_types as p; p.json_schema_of({'a': int}); "
    code += "assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_response_format_of_openai_is_the_schema_in_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wrapped = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    assert json_schema_of(wrapped) == json_schema_of(schema)
    with pytest.raises(SchemaError, match=r"needs .json_schema."):
        json_schema_of({"type": "json_schema", "schema": schema})
