"""Random JSON Schemas of what constraints support, for hypothesis; every value is finite, so answers end soon."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_NAMES = st.sampled_from(["a", "b", "name", "été", 'quote"d', "back\\slash", "a b", "x/y"])
_PATTERNS = ["^[a-c]{1,3}$", "^(yes|no)$", r"^\d{2}-\d{2}$", "^$", "^[^x]{0,2}$"]

_null = st.just({"type": "null"})
_booleans = st.just({"type": "boolean"})
_consts = st.sampled_from([1, -2.5, "x", True, None, "ü\n", [1, "a"], {"k": None}]).map(lambda value: {"const": value})
_enums = st.lists(
    st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text(max_size=4).filter(str.isprintable)),
    min_size=1,
    max_size=4,
    unique_by=repr,
).map(lambda values: {"enum": values})


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
    if draw(st.booleans()):
        return {"type": "string", "pattern": draw(st.sampled_from(_PATTERNS))}
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


schemas: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(_null, _booleans, _consts, _enums, _integers(), _numbers(), _strings()),
    lambda values: st.one_of(_arrays(values), _objects(values), _unions(values)),
    max_leaves=6,
)
"""Any of them; nested a few times."""
