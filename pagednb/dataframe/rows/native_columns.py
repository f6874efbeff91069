"""Columns between pandas, in which the verbs work, and the libraries that narwhals knows: Polars, Arrow and others.

Values cross as Python objects: a column that a template uses is read once, and new columns are written once.
"""

from __future__ import annotations

import json
from typing import Any

import narwhals as nw
import pandas as pd


def pandas_column(column: Any) -> pd.Series:
    """Return a narwhals series as a pandas series of its Python values, None for null; categories keep their order."""
    values = pd.Series(column.to_list(), name=column.name, dtype=object)
    if isinstance(column.dtype, nw.Enum):
        return values.astype(pd.CategoricalDtype(list(column.dtype.categories)))
    return values


def native_column(name: str, column: pd.Series, backend: Any) -> Any:
    """Return a pandas series as a narwhals series of a library: the same type, NA as null.

    Labels become an Enum with all of them, or a dictionary where the library has no Enum. Nested values become lists
    and structs if these hold them unchanged, else Python objects, or JSON where the library has no objects.
    """
    is_known = column.notna().tolist()
    values = [value if known else None for value, known in zip(column.tolist(), is_known, strict=True)]
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _categories(name, values, column.dtype.categories.tolist(), backend)
    dtype = _TYPES.get(str(column.dtype))
    if dtype is not None:
        return nw.new_series(name, values, dtype, backend=backend)
    return _objects(name, values, backend)


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


def _categories(name: str, values: list[Any], categories: list[Any], backend: Any) -> Any:
    if not all(isinstance(category, str) for category in categories):
        return nw.new_series(name, values, backend=backend)
    try:
        return nw.new_series(name, values, nw.Enum(categories), backend=backend)
    except NotImplementedError:  # Arrow has none
        return nw.new_series(name, values, nw.Categorical(), backend=backend)


def _objects(name: str, values: list[Any], backend: Any) -> Any:
    try:
        inferred = nw.new_series(name, values, backend=backend)
        if all(map(_is_held, values, inferred.to_list())):
            return inferred
    except Exception:  # noqa: BLE001  each library has its own exceptions for values of several types
        pass
    try:
        return nw.new_series(name, values, nw.Object(), backend=backend)
    except NotImplementedError:
        texts = [None if value is None else json.dumps(value, default=str) for value in values]
        return nw.new_series(name, texts, nw.String, backend=backend)


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
