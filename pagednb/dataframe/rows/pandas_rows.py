"""The rows of a pandas frame, and the values of a pandas series."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from pagednb.dataframe.prompts.row_prompts import RowPrompts, frame_prompts, series_prompts
from pagednb.dataframe.results.columns import as_label, as_series, frame_with_columns, text_array
from pagednb.dataframe.rows.verb_rows import NOTHING_KNOWN, Target
from pagednb.structured_output.field_spec import FieldSpec

PandasData = TypeVar("PandasData", pd.DataFrame, pd.Series)
COPIES_ON_WRITE = int(pd.__version__.split(".")[0]) >= 3


def as_it_is_now(data: PandasData) -> PandasData:
    """Return a copy that changes in place do not reach. pandas 3 copies only what is written; pandas 2 at once."""
    return data.copy(deep=not COPIES_ON_WRITE)


@dataclasses.dataclass(frozen=True, eq=False)
class FrameRows:
    """A frame's rows. Results are a copy of the frame with columns added. ``only`` the rows at some positions run."""

    data: pd.DataFrame
    only: np.ndarray | None = None

    @property
    def columns(self) -> pd.Index:
        """The frame's own."""
        return self.data.columns

    def prompts(self, template: Hashable) -> RowPrompts:
        """Return prompts whose fields are columns."""
        prompts = frame_prompts(self.data, template)
        return prompts if self.only is None else prompts.only(self.only)

    def placed(
        self,
        columns: Mapping[str, Any],
        target: Target,
        reasons: Mapping[int, str],
        figures: Mapping[str, Any],
        holds: Mapping[str, FieldSpec] = NOTHING_KNOWN,
    ) -> pd.DataFrame:
        """Return the copy, with ``<into>_error`` if and only if there is a reason. Objects stay objects."""
        return frame_with_columns(self.data, columns, reasons, target.into, figures)

    def failed(self, reasons: Mapping[int, str], into: str) -> pd.DataFrame:
        """Return the rows that have a reason, with ``<into>_error``."""
        rows = sorted(reasons)
        failed = self.data.iloc[rows].copy()
        failed[as_label(failed, f"{into}_error")] = text_array([reasons[row] for row in rows])
        return failed

    def where_reasons_are(self, into: str) -> str:
        """Return a sentence."""
        again = f"retry({into!r}) runs these rows again, with truncate= those too long"
        return f"All reasons are in column '{into}_error'; {again}."


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
        self,
        columns: Mapping[str, Any],
        target: Target,
        reasons: Mapping[int, str],
        figures: Mapping[str, Any],
        holds: Mapping[str, FieldSpec] = NOTHING_KNOWN,
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
