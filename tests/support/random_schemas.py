"""Random JSON Schemas of what constraints support, for hypothesis; every value is finite, so answers end soon."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_NAMES = st.sampled_from(["a", "b", "name", "été", 'quote"d', "back\\slash", "a b", "x/y"])
_PATTERNS = ["^[a-c]{1,3}$", "^(yes|no)$", "^[0-9]{2}-[0-9]{2}$", "^$", "^(ab|a)?x{2,3}$"]

_null = st.just({"type": "null"})
_booleans = st.just({"type": "boolean"})
_plain_consts = st.sampled_from([1, -2.5, "x", True, None, "ü", [1, "a"], {"k": None}]).map(
    lambda value: {"const": value}
)
_consts = st.one_of(_plain_consts, st.just({"const": 'ü\n\\"'}))
_patterns = st.sampled_from(_PATTERNS).map(lambda pattern: {"type": "string", "pattern": pattern})


def _enums_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    values = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), texts)
    return st.lists(values, min_size=1, max_size=4, unique_by=repr).map(lambda values: {"enum": values})


_enums = _enums_of(st.text(max_size=4))
_plain_enums = _enums_of(st.text(st.characters(categories=["L", "N"]), max_size=4))


@st.composite
def _integers(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.integers(-10_000, 10_000))
    high = low + draw(st.integers(2, 5000))
    lower = draw(st.sampled_from(["minimum", "exclusiveMinimum"]))
    upper = draw(st.sampled_from(["maximum", "exclusiveMaximum"]))
    return {"type": "integer", lower: low, upper: high}


@st.composite
def _numbers(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.floats(-100, 100).map(lambda number: round(number, 2)))
    return {"type": "number", "minimum": low, "maximum": low + draw(st.integers(1, 50))}


@st.composite
def _strings(draw: st.DrawFn) -> dict[str, Any]:
    shortest = draw(st.integers(0, 2))
    return {"type": "string", "minLength": shortest, "maxLength": shortest + draw(st.integers(0, 4))}


def _arrays(items: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    sizes = st.tuples(st.integers(0, 2), st.integers(0, 2))
    return st.tuples(items, sizes).map(
        lambda pair: {"type": "array", "items": pair[0], "minItems": pair[1][0], "maxItems": sum(pair[1])}
    )


@st.composite
def _objects(draw: st.DrawFn, values: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    properties = draw(st.dictionaries(_NAMES, values, max_size=4))
    required = draw(st.lists(st.sampled_from(list(properties)), unique=True)) if properties else []
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _unions(values: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(values, st.one_of(_null, values)).map(lambda pair: {"anyOf": list(pair)})


def _nested(*leaves: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        st.one_of(*leaves), lambda values: st.one_of(_arrays(values), _objects(values), _unions(values)), max_leaves=6
    )


schemas = _nested(_null, _booleans, _consts, _enums, _integers(), _numbers(), _strings(), _patterns)
"""Any of them; nested a few times."""

_naturals = _integers().filter(lambda schema: schema.get("minimum", schema.get("exclusiveMinimum")) >= 0)
undisputed_schemas = _nested(_null, _booleans, _plain_consts, _plain_enums, _naturals, _patterns)
"""Those with one reading: whether there is a -0, how many digits a number may have, and how a character is escaped, is
left open by JSON."""
