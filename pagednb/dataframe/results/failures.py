"""Rows that failed: what ``errors=`` means, how many the figures list, one warning or one exception after the run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from pagednb.dataframe.results.callers import callers_level
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.errors import OptionError, RowErrors, RowErrorsWarning

ErrorPolicy = Literal["coerce", "raise"]


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
        warnings.warn(message, RowErrorsWarning, stacklevel=callers_level())
        return
    failed = rows.failed(outcome.errors, into)
    raise RowErrors(summary, frame=failed, hint=f"The exception's frame holds the failed {unit}s with their reasons.")
