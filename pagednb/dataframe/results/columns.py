"""From a run's outcome back to pandas: new columns in a copy, and the column of reasons.

Everything is placed by position, never by label: indexes may repeat.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from pagednb.dataframe.results.record import RunRecord
from pagednb.dataframe.results.whole_text import whole_text

TEXT_DTYPE = "str" if int(pd.__version__.split(".")[0]) >= 3 else "string"
"""pandas' default dtype for text: ``str`` from 3.0 on, ``string`` before."""


def frame_with_columns(
    frame: pd.DataFrame,
    columns: Mapping[str, Any],
    reasons: Mapping[int, str],
    into: str,
    figures: Mapping[str, Any],
) -> pd.DataFrame:
    """Return a copy of ``frame`` with arrays, or series of its index, as columns; ``<into>_error`` if any reason.

    Confidences and the like that an earlier run of ``into`` left, and this one does not replace, go: they are not of
    these values.
    """
    result = frame.copy()
    for name in RunRecord.names_beside(frame, into):
        if name not in columns and as_label(frame, name) in result.columns:
            del result[as_label(frame, name)]
    for name, column in columns.items():
        result[as_label(frame, name)] = column
    error_label = as_label(frame, f"{into}_error")
    if reasons:
        result[error_label] = text_array([reasons.get(row) for row in range(len(frame))])
    elif error_label in result.columns:
        del result[error_label]
    result.attrs["pagednb"] = dict(figures)
    if (record := RunRecord.of(figures, list(columns))) is not None:
        result.attrs = record.added_to(result.attrs, into)
    return result


def as_series(column: Any, index: pd.Index) -> pd.Series:
    """Return an array as a series; a series as it is."""
    return column if isinstance(column, pd.Series) else pd.Series(column, index=index)


def as_label(frame: pd.DataFrame, name: str) -> Hashable:
    """The label of a new column: filled up to a full tuple where labels have levels."""
    return (name, *[""] * (frame.columns.nlevels - 1)) if frame.columns.nlevels > 1 else name


def text_array(values: list[str | None]) -> Any:
    """Return texts as an array of pandas' text dtype, None as NA; lone surrogates, which it may refuse, as U+FFFD."""
    try:
        return pd.array(values, dtype=TEXT_DTYPE)
    except UnicodeEncodeError:
        return pd.array([value and whole_text(value) for value in values], dtype=TEXT_DTYPE)
