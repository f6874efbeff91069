"""From answers to typed columns: one pandas array a field, of the dtype that the schema says, whatever the rows hold.

The dtypes follow from the schema alone: an empty frame and one whose rows all failed get the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pagednb.dataframe.results.columns import TEXT_DTYPE
from pagednb.structured_output.field_spec import FieldSpec, Kind

DTYPES: Mapping[Kind, str] = {"string": TEXT_DTYPE, "integer": "Int64", "number": "Float64", "boolean": "boolean"}


def typed_columns(values: Sequence[Mapping[str, Any] | None], spec: FieldSpec, index: pd.Index) -> dict[str, pd.Series]:
    """Return field -> series with one item a row: NA where the row is None, the key is left out, or its value null.

    Text is pandas' text dtype, whole numbers ``Int64``, numbers ``Float64``, true and false ``boolean``, an enum
    ``category`` with all choices in order. Objects, arrays and values of several types stay Python objects, with None
    for NA.
    """
    columns = {}
    for name, field in spec.fields:
        items = [None if row is None else row.get(name) for row in values]
        columns[name] = _typed(items, field, index)
    return columns


def object_column(values: Sequence[Any], index: pd.Index) -> pd.Series:
    """Return Python objects as a series of dtype object, lists and tuples as single items.

    A series, because of a bare array of objects pandas 3 would make text where all of them are texts.
    """
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return pd.Series(column, index=index, dtype=object)


def _typed(values: list[Any], field: FieldSpec, index: pd.Index) -> pd.Series:
    if field.kind == "enum":
        return pd.Series(_categorical(values, field), index=index)
    if field.kind not in DTYPES:
        return object_column(values, index)
    return pd.Series(pd.array(values, dtype=DTYPES[field.kind]), index=index)


def _categorical(values: list[Any], field: FieldSpec) -> pd.Categorical:
    value_to_code = {choice: code for code, choice in enumerate(field.choices)}
    codes = np.fromiter((-1 if value is None else value_to_code[value] for value in values), np.int64, len(values))
    categories = pd.Index(field.choices, dtype=_category_dtype(field))
    return pd.Categorical.from_codes(codes, categories=categories)


def _category_dtype(field: FieldSpec) -> Any:
    """Text is text in every pandas; anything else is what pandas makes of the choices, kept as they are if mixed."""
    types = {type(choice) for choice in field.choices}
    if types == {str}:
        return TEXT_DTYPE
    return None if len(types) == 1 else object
