"""Whether a JSON Schema is one: every keyword known, and of the shape that it must have.

What is well formed but cannot be enforced is refused where constraints are compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pagednb.errors import SchemaError, nearest_name

TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
_HINTS = {
    "nullable": 'For a value or null: "type": ["string", "null"].',
    "dependencies": "Leave it out, and check answers for it.",
    "items": "Lists of fixed length have prefixItems.",
}


def _is_schema(value: Any) -> bool:
    return isinstance(value, Mapping | bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and (isinstance(value, int) or value.is_integer())


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_anything(value: Any) -> bool:
    return True


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _are_named_schemas(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_schema, value.values()))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_values(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _are_types(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(name in TYPES for name in names)


_Rule = tuple[Callable[[Any], bool], str]


def _rules(is_fit: Callable[[Any], bool], shape: str, keywords: str) -> dict[str, _Rule]:
    return dict.fromkeys(keywords.split(), (is_fit, shape))


_KEYWORDS: Mapping[str, _Rule] = {
    **_rules(_is_schema, "a schema", "items additionalProperties contains propertyNames not if then else"),
    **_rules(_is_schema, "a schema", "additionalItems unevaluatedItems unevaluatedProperties contentSchema"),
    **_rules(_are_schemas, "a list of schemas", "anyOf allOf oneOf prefixItems"),
    **_rules(_are_named_schemas, "schemas by name", "properties patternProperties $defs definitions dependentSchemas"),
    **_rules(_is_number, "a number", "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf"),
    **_rules(_is_count, "a whole number from 0", "minLength maxLength minItems maxItems minProperties maxProperties"),
    **_rules(_is_count, "a whole number from 0", "minContains maxContains"),
    **_rules(_is_text, "a text", "pattern format $ref $dynamicRef title description $comment $id $anchor $schema"),
    **_rules(_is_text, "a text", "$dynamicAnchor contentEncoding contentMediaType"),
    **_rules(_is_flag, "true or false", "uniqueItems deprecated readOnly writeOnly"),
    **_rules(_are_types, f"one of {', '.join(TYPES)}, or a list of them", "type"),
    **_rules(_are_values, "a list of values", "enum"),
    **_rules(_are_texts, "a list of texts", "required"),
    **_rules(_is_anything, "", "const default examples example discriminator dependentRequired $vocabulary"),
}
_WITH_SCHEMAS = (_is_schema, _are_schemas, _are_named_schemas)


def check_schema(schema: Mapping[str, Any]) -> None:
    """Accept a JSON Schema of draft 7 or 2020-12; keywords that begin with ``x-`` are anybody's.

    Raises:
        SchemaError: a keyword is unknown, or its value is of another shape; keyword and place are named.
    """
    waiting: list[tuple[str, Mapping[str, Any]]] = [("schema", schema)]
    while waiting:
        path, node = waiting.pop()
        for keyword, value in node.items():
            if not keyword.startswith("x-"):
                _check_keyword(path, keyword, value)
                waiting += _schemas_in(f"{path}.{keyword}", keyword, value)


def _check_keyword(path: str, keyword: str, value: Any) -> None:
    rule = _KEYWORDS.get(keyword)
    if rule is None:
        nearest = nearest_name(keyword, _KEYWORDS)
        meant = f"Did you mean {nearest!r}?" if nearest else "Leave it out: it would not be enforced."
        raise SchemaError(f"{path}: JSON Schema has no keyword {keyword!r}.", hint=_HINTS.get(keyword, meant))
    is_fit, shape = rule
    if not is_fit(value):
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
        raise SchemaError(f"{path}: {keyword!r} must be {shape}, not {shown}.", hint=_HINTS.get(keyword))


def _schemas_in(path: str, keyword: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the schemas directly in a keyword's value, with their places."""
    if _KEYWORDS[keyword][0] not in _WITH_SCHEMAS:
        return
    if _KEYWORDS[keyword][0] is _is_schema:
        named = [(path, value)]
    elif isinstance(value, list):
        named = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    else:
        named = [(f"{path}.{name}", child) for name, child in value.items()]
    yield from ((place, child) for place, child in named if isinstance(child, Mapping))
