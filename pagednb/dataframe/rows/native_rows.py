"""Rows of frames and series of other libraries, Polars before all: verbs work on them as on pandas' rows.

Only the columns that a template uses are read, and only new columns are written; all others stay where they are.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from pagednb.dataframe.prompts.row_prompts import RowPrompts, frame_prompts, series_prompts
from pagednb.dataframe.results.columns import as_series, text_array
from pagednb.dataframe.rows.native_columns import native_column, pandas_column
from pagednb.dataframe.rows.pandas_rows import SeriesRows
from pagednb.dataframe.rows.verb_rows import NOTHING_KNOWN, Target
from pagednb.structured_output.field_spec import FieldSpec


@dataclasses.dataclass(frozen=True, eq=False)
class NativeFrameRows:
    """Rows of ``native``, a narwhals DataFrame. Results are frames of its library."""

    native: Any

    @functools.cached_property
    def data(self) -> pd.DataFrame:
        """The rows' positions as an index, without columns."""
        return pd.DataFrame(index=pd.RangeIndex(len(self.native)))

    @property
    def columns(self) -> pd.Index:
        """The frame's own."""
        return pd.Index(self.native.columns)

    def as_pandas(self) -> pd.DataFrame:
        """Return all columns."""
        return self._read(self.native.columns)

    def prompts(self, template: Hashable) -> RowPrompts:
        """Return prompts whose fields are columns."""
        used = frame_prompts(pd.DataFrame(columns=self.native.columns), template).columns
        return frame_prompts(self._read(dict.fromkeys(column.name for column in used)), template)

    def placed(
        self,
        columns: Mapping[str, Any],
        target: Target,
        reasons: Mapping[int, str],
        figures: Mapping[str, Any],
        holds: Mapping[str, FieldSpec] = NOTHING_KNOWN,
    ) -> Any:
        """Return the frame with the new columns; ``figures`` are in ``pagednb.last_run()``, such frames hold none."""
        error = f"{target.into}_error"
        new = dict(columns)
        frame = self.native
        if reasons:
            new[error] = text_array([reasons.get(row) for row in range(len(frame))])
        elif error in frame.columns:
            frame = frame.drop(error)
        return self._with_columns(frame, new, holds).to_native()

    def failed(self, reasons: Mapping[int, str], into: str) -> Any:
        """Return the rows that have a reason, with ``<into>_error``."""
        rows = sorted(reasons)
        return self._with_columns(
            self.native[rows], {f"{into}_error": text_array([reasons[row] for row in rows])}
        ).to_native()

    def where_reasons_are(self, into: str) -> str:
        """Return a sentence."""
        return f"All reasons are in column '{into}_error'."

    def with_column(self, name: str, column: pd.Series) -> Any:
        """Return the frame with one more column."""
        return self._with_columns(self.native, {name: column}).to_native()

    def _read(self, names: Any) -> pd.DataFrame:
        index = self.data.index
        return pd.DataFrame({name: pandas_column(self.native[name]) for name in names}, index=index, copy=False)

    def _with_columns(
        self, frame: Any, columns: Mapping[str, Any], holds: Mapping[str, FieldSpec] = NOTHING_KNOWN
    ) -> Any:
        index = pd.RangeIndex(len(frame))
        backend = frame.implementation
        return frame.with_columns(
            *(
                native_column(name, as_series(column, index), backend, holds.get(name))
                for name, column in columns.items()
            )
        )


@dataclasses.dataclass(frozen=True, eq=False)
class NativeSeriesRows:
    """Values of ``native``, a narwhals Series. A result is a series of its library, of several columns a frame."""

    native: Any

    @functools.cached_property
    def data(self) -> pd.Series:
        """The values."""
        return pandas_column(self.native)

    @property
    def columns(self) -> pd.Index:
        """None: the result has no others."""
        return pd.Index([])

    def prompts(self, template: Hashable) -> RowPrompts:
        """Return prompts whose field is the value."""
        return series_prompts(self.data, template)

    def placed(
        self,
        columns: Mapping[str, Any],
        target: Target,
        reasons: Mapping[int, str],
        figures: Mapping[str, Any],
        holds: Mapping[str, FieldSpec] = NOTHING_KNOWN,
    ) -> Any:
        """Return the new columns; such series hold neither figures nor reasons."""
        result = SeriesRows(self.data).placed(columns, target, reasons, figures)
        if isinstance(result, pd.Series):
            known = next(iter(holds.values()), None)
            return native_column(str(result.name), result, self.native.implementation, known).to_native()
        return self._frame(result, holds)

    def failed(self, reasons: Mapping[int, str], into: str) -> Any:
        """Return the values that have a reason, as a frame with ``<into>_error``."""
        return self._frame(SeriesRows(self.data).failed(reasons, into))

    def where_reasons_are(self, into: str) -> str:
        """Return a sentence."""
        return "The verb on a frame returns all reasons."

    def _frame(self, frame: pd.DataFrame, holds: Mapping[str, FieldSpec] = NOTHING_KNOWN) -> Any:
        backend = self.native.implementation
        columns = [
            native_column(name, column, backend, holds.get(name))
            for name, column in ((str(label), column) for label, column in frame.items())
        ]
        return columns[0].to_frame().with_columns(*columns[1:]).to_native()
