"""The rows a verb works on, a frame's or a series': how they become prompts, and where columns go."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import pandas as pd

from pagednb.dataframe.prompts import RowPrompts, frame_prompts, series_prompts
from pagednb.dataframe.results import as_label, as_series, frame_with_columns, text_array
from pagednb.errors import OptionError


@dataclasses.dataclass(frozen=True)
class Target:
    """What a verb's columns are called: ``into``, and ``is_given`` if the caller named it."""

    into: str
    is_given: bool

    @classmethod
    def of(cls, into: object, default: str) -> Target:
        """Return the target of an ``into=``, which may be None.

        Raises:
            OptionError: it names no column.
        """
        if into is None:
            return cls(default, is_given=False)
        if not isinstance(into, str) or not into:
            raise OptionError(f"into={into!r} is not valid.", hint="Name the new column with a text.")
        return cls(into, is_given=True)


class VerbRows(Protocol):
    """Rows of either kind."""

    @property
    def data(self) -> pd.DataFrame | pd.Series:
        """What the caller has; never changed."""

    @property
    def columns(self) -> pd.Index:
        """Labels that new columns might meet."""

    def prompts(self, template: Hashable) -> RowPrompts:
        """Return the prompts of a template, or raise TemplateError."""

    def placed(
        self, columns: Mapping[str, Any], target: Target, reasons: Mapping[int, str], figures: Mapping[str, Any]
    ) -> Any:
        """Return the caller's result: new columns by name (arrays, or series of the rows' index), reasons by row."""

    def failed(self, reasons: Mapping[int, str], into: str) -> Any:
        """Return the rows that have a reason as a frame of the caller's kind, with ``<into>_error``."""

    def where_reasons_are(self, into: str) -> str:
        """Return a sentence that says where a result has the reasons."""


class Accessor(Protocol):
    """What verbs are methods of."""

    @property
    def rows(self) -> VerbRows:
        """The rows to work on."""


@dataclasses.dataclass(frozen=True)
class FrameRows:
    """A frame's rows. Results are a copy of the frame with columns added."""

    data: pd.DataFrame

    @property
    def columns(self) -> pd.Index:
        """The frame's own."""
        return self.data.columns

    def prompts(self, template: Hashable) -> RowPrompts:
        """Return prompts whose fields are columns."""
        return frame_prompts(self.data, template)

    def placed(
        self, columns: Mapping[str, Any], target: Target, reasons: Mapping[int, str], figures: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Return the copy, with ``<into>_error`` if and only if there is a reason."""
        return frame_with_columns(self.data, columns, reasons, target.into, figures)

    def failed(self, reasons: Mapping[int, str], into: str) -> pd.DataFrame:
        """Return the rows that have a reason, with ``<into>_error``."""
        rows = sorted(reasons)
        failed = self.data.iloc[rows].copy()
        failed[as_label(failed, f"{into}_error")] = text_array([reasons[row] for row in rows])
        return failed

    def where_reasons_are(self, into: str) -> str:
        """Return a sentence."""
        return f"All reasons are in column '{into}_error'; retry({into!r}) runs these rows again."


@dataclasses.dataclass(frozen=True)
class SeriesRows:
    """A series' values. A result of one column is a series, of several a frame; reasons are in ``attrs`` only."""

    data: pd.Series

    @property
    def columns(self) -> pd.Index:
        """None: the result has no others."""
        return pd.Index([])

    def prompts(self, template: Hashable) -> RowPrompts:
        """Return prompts whose field is the value."""
        return series_prompts(self.data, template)

    def placed(
        self, columns: Mapping[str, Any], target: Target, reasons: Mapping[int, str], figures: Mapping[str, Any]
    ) -> pd.DataFrame | pd.Series:
        """Return the new columns; one alone keeps the series' name unless ``into`` was given."""
        if len(columns) > 1:
            result: Any = pd.DataFrame(columns, index=self.data.index)
        else:
            [column] = columns.values()
            result = as_series(column, self.data.index).rename(target.into if target.is_given else self.data.name)
        result.attrs = {**self.data.attrs, "pagednb": dict(figures)}
        return result

    def failed(self, reasons: Mapping[int, str], into: str) -> pd.DataFrame:
        """Return the values that have a reason, as a frame with ``<into>_error``."""
        name = "value" if self.data.name is None else self.data.name
        return FrameRows(self.data.to_frame(name=name)).failed(reasons, into)

    def where_reasons_are(self, into: str) -> str:
        """Return a sentence."""
        return "All reasons are in attrs['pagednb']['failures']."
