"""Columns between pandas, in which the verbs work, and the libraries that narwhals knows: Polars, Arrow and others.

Values cross as Python objects: a column that a template uses is read once, and new columns are written once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import narwhals as nw
import pandas as pd

from pagednb.dataframe.rows.verb_rows import VECTORS
from pagednb.structured_output.field_spec import FieldSpec, Kind


def pandas_column(column: Any) -> pd.Series:
    """Return a narwhals series as a pandas series of its Python values, None for null; categories keep their order."""
    values = pd.Series(column.to_list(), name=column.name, dtype=object)
    if isinstance(column.dtype, nw.Enum):
        return values.astype(pd.CategoricalDtype(list(column.dtype.categories)))
    return values


def native_column(name: str, column: pd.Series, backend: Any, holds: FieldSpec | None = None) -> Any:
    """Return a pandas series as a narwhals series of a library: the same type, NA as null.

    Labels become an Enum with all of them, or a dictionary where the library has no Enum. Nested values become lists
    and structs of the types that ``holds`` says, whatever the rows hold. Without it, or where a value is no such thing,
    they become what their values are like if that holds them unchanged, else Python objects, or JSON where the library
    has no objects.
    """
    is_known = column.notna().tolist()
    values = [value if known else None for value, known in zip(column.tolist(), is_known, strict=True)]
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _categories(name, values, column.dtype.categories, backend)
    dtype = _TYPES.get(str(column.dtype))
    if dtype is not None:
        return nw.new_series(name, values, dtype, backend=backend)
    if holds is VECTORS:
        return _vectors(name, values, backend)
    typed = None if holds is None else _as_declared(name, values, holds, backend)
    return _objects(name, values, backend) if typed is None else typed


_TYPES: dict[str, Any] = {
    "str": nw.String,
    "string": nw.String,
    "boolean": nw.Boolean,
    "bool": nw.Boolean,
    "Int64": nw.Int64,
    "int64": nw.Int64,
    "Float64": nw.Float64,
    "float64": nw.Float64,
    "Float32": nw.Float32,
    "float32": nw.Float32,
}
_KIND_TYPES: Mapping[Kind, Any] = {
    "string": nw.String,
    "integer": nw.Int64,
    "number": nw.Float64,
    "boolean": nw.Boolean,
}


def _as_declared(name: str, values: list[Any], holds: FieldSpec, backend: Any) -> Any:
    """A series of the type that ``holds`` says; None if that has none, or a value does not fit."""
    if (declared := _declared(holds)) is None:
        return None
    return _held(name, [_with_floats(value, holds) for value in values], declared, backend)


def _declared(spec: FieldSpec) -> Any:
    """The type of a field's values; None where they may be of several, or have names of their own."""
    if spec.kind == "enum":
        return nw.String if all(isinstance(choice, str) for choice in spec.choices) else None
    if spec.kind == "array":
        item = None if spec.items is None else _declared(spec.items)
        return None if item is None else nw.List(item)
    if spec.kind == "object":
        fields = {name: _declared(field) for name, field in spec.fields}
        return nw.Struct(fields) if fields and None not in fields.values() else None
    return _KIND_TYPES.get(spec.kind)


def _with_floats(value: Any, spec: FieldSpec) -> Any:
    """A value whose numbers are floats where the field's are: JSON writes 1.0 as 1."""
    if isinstance(value, list) and spec.items is not None:
        return [_with_floats(item, spec.items) for item in value]
    if isinstance(value, dict):
        fields = dict(spec.fields)
        return {name: _with_floats(item, fields[name]) if name in fields else item for name, item in value.items()}
    is_whole = spec.kind == "number" and type(value) is int and abs(value) <= sys.float_info.max
    return float(value) if is_whole else value


def _vectors(name: str, vectors: list[Any], backend: Any) -> Any:
    """Lists of float32, made without a Python number for each of theirs."""
    items = vectors
    if backend.is_polars():  # takes no arrays beside nulls
        items = [
            None if vector is None else nw.new_series("", vector, nw.Float32, backend=backend).to_native()
            for vector in vectors
        ]
    return nw.new_series(name, items, nw.List(nw.Float32), backend=backend)


def _categories(name: str, values: list[Any], categories: pd.Index, backend: Any) -> Any:
    if not all(isinstance(category, str) for category in categories):
        return nw.new_series(name, values, _TYPES.get(str(categories.dtype)), backend=backend)
    try:
        return nw.new_series(name, values, nw.Enum(categories.tolist()), backend=backend)
    except NotImplementedError:  # Arrow has none
        return nw.new_series(name, values, nw.Categorical(), backend=backend)


def _objects(name: str, values: list[Any], backend: Any) -> Any:
    if (inferred := _held(name, values, None, backend)) is not None:
        return inferred
    try:
        return nw.new_series(name, values, nw.Object(), backend=backend)
    except NotImplementedError:
        texts = [None if value is None else json.dumps(value, default=str) for value in values]
        return nw.new_series(name, texts, nw.String, backend=backend)


def _held(name: str, values: list[Any], dtype: Any, backend: Any) -> Any:
    """These values as a series of a type, or of what the library takes them for; None if that alters one."""
    try:
        series = nw.new_series(name, values, dtype, backend=backend)
        is_same = all(map(_is_held, values, series.to_list()))
    except Exception:  # noqa: BLE001  each library has its own exceptions for values of several types
        return None
    return series if is_same else None


def _is_held(value: Any, held: Any) -> bool:
    """Whether a library gives the value back; a struct has None for keys that the value lacks."""
    if isinstance(value, dict) and isinstance(held, dict):
        extra = held.keys() - value.keys()
        return value.keys() <= held.keys() and all(
            [*(held[key] is None for key in extra), *(_is_held(value[key], held[key]) for key in value)]
        )
    if isinstance(value, list) and isinstance(held, list):
        return len(value) == len(held) and all(map(_is_held, value, held))
    return type(value) is type(held) and bool(value == held)
