"""From a run's outcome back to pandas: a text column, an error column, one warning or one exception.

Everything is placed by position, never by label: indexes may repeat.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Hashable, Mapping
from types import FrameType
from typing import Any, Literal, Protocol

import pandas as pd

from pagednb.dataframe.row_outcome import RowOutcome
from pagednb.dataframe.run_record import RunRecord
from pagednb.errors import OptionError, RowErrors, RowErrorsWarning

ErrorPolicy = Literal["coerce", "raise"]
TEXT_DTYPE = "str" if int(pd.__version__.split(".")[0]) >= 3 else "string"
"""pandas' default dtype for text: ``str`` from 3.0 on, ``string`` before."""

MAX_LISTED_FAILURES = 100
"""``attrs`` lists at most so many failures: pandas copies ``attrs`` with every operation."""


class FailedRows(Protocol):
    """What a run's results are about, as far as failures go: rows, or groups of them."""

    def failed(self, reasons: Mapping[int, str], into: str) -> Any:
        """Return those that have a reason as a frame of the caller's kind, with ``<into>_error``."""

    def where_reasons_are(self, into: str) -> str:
        """Return a sentence that says where a result has the reasons."""


def check_errors(errors: object) -> None:
    """Raise OptionError for an unknown ``errors``; called before the run."""
    if errors not in ("coerce", "raise"):
        raise OptionError(f"errors={errors!r} is not valid.", hint="Use 'coerce' or 'raise'.")


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


def listed_failures(reasons: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the first failures, by position, as JSON types."""
    return [{"row": row, "error": reasons[row]} for row in sorted(reasons)[:MAX_LISTED_FAILURES]]


def report_failures(
    rows: FailedRows, outcome: RowOutcome[Any], into: str, errors: ErrorPolicy, *, unit: str = "row"
) -> None:
    """Say that rows failed: one RowErrorsWarning under "coerce", RowErrors with the failed rows under "raise"."""
    if not outcome.errors:
        return
    first = min(outcome.errors)
    num_failed, num_rows = len(outcome.errors), len(outcome.values)
    summary = f"{num_failed} of {num_rows} {unit}s failed; the first is {unit} {first}: {outcome.errors[first]}"
    if errors == "coerce":
        message = f"{summary} {rows.where_reasons_are(into)}".rstrip()
        warnings.warn(message, RowErrorsWarning, stacklevel=_callers_level())
        return
    failed = rows.failed(outcome.errors, into)
    raise RowErrors(summary, frame=failed, hint=f"The exception's frame holds the failed {unit}s with their reasons.")


def _callers_level() -> int:
    """The ``stacklevel`` of the line that called pagednb, seen from our caller."""
    level = 1
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "pagednb":
        frame, level = frame.f_back, level + 1
    return level


def as_label(frame: pd.DataFrame, name: str) -> Hashable:
    """The label of a new column: filled up to a full tuple where labels have levels."""
    return (name, *[""] * (frame.columns.nlevels - 1)) if frame.columns.nlevels > 1 else name


def text_array(values: list[str | None]) -> Any:
    """Return texts as an array of pandas' text dtype, None as NA."""
    return pd.array(values, dtype=TEXT_DTYPE)
