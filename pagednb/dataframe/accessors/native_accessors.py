"""The verbs on frames and series of other libraries: ``pagednb.frame(df)``, and ``df.pnb`` on Polars.

They are the verbs of pandas' frames, over other rows. Results are frames of the same library.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import Any

import narwhals as nw

from pagednb.dataframe.accessors.pandas_accessors import FrameAccessor, SeriesAccessor
from pagednb.dataframe.review.review import Review
from pagednb.dataframe.rows.native_rows import NativeFrameRows, NativeSeriesRows
from pagednb.dataframe.rows.verb_rows import Accessor
from pagednb.dataframe.run.job import awaitable
from pagednb.dataframe.verbs.agg import agg
from pagednb.errors import NotSupportedYetError, OptionError


class NativeReview(Review):
    """A review whose ``frame`` is of another library."""

    def __init__(self, native: NativeFrameRows, into: str, **options: Any) -> None:
        super().__init__(native.as_pandas(), into, **options)
        self._native = native
        self._reviewed = f"{into}_reviewed"

    @property
    def frame(self) -> Any:
        """The frame with what was decided so far."""
        return self._native.with_column(self._reviewed, self._pandas_frame()[self._reviewed])


def agg_of_all(self: Accessor, template: Hashable = None, *, by: Any = None, **options: Any) -> Any:
    """Return one text about all rows, as ``agg`` of a pandas frame; its options but ``by``.

    Raises:
        NotSupportedYetError: ``by`` is given.
    """
    if by is not None:
        raise NotSupportedYetError(
            "agg with by= is not built yet for frames and series of this library.",
            hint="Use pagednb.frame(data.to_pandas()).agg(...).",
        )
    return agg(self, template, **options)


class NativeFrameAccessor(FrameAccessor):
    """Language-model verbs over the rows of a frame."""

    def __init__(self, frame: Any) -> None:
        self._native = nw.from_native(frame, eager_only=True)

    @property
    def rows(self) -> Any:
        """The rows as they are now: Polars keeps accessors with frames that may grow."""
        return NativeFrameRows(self._native.clone())

    agg = agg_of_all
    aagg = awaitable(agg_of_all)

    def review(
        self,
        into: str,
        *,
        below: float | None = 0.7,
        labels: Sequence[Hashable] | None = None,
        columns: Sequence[Hashable] | None = None,
        save: str | os.PathLike[str] | None = None,
    ) -> Review:
        """Return a table of labels to look at, as on a pandas frame; its ``frame`` is of this frame's library.

        The frame does not say which columns the model saw: name with ``columns`` those to show, or see all others.

        Raises:
            OptionError: as on a pandas frame.
        """
        return NativeReview(self.rows, into, below=below, labels=labels, columns=columns, save=save)

    def retry(self, into: str, **options: Any) -> Any:
        """Raise NotSupportedYetError: only pandas frames remember their runs."""
        raise NotSupportedYetError(
            "retry on this kind of frame is not built yet: only pandas frames remember how their columns were made.",
            hint="Run the verb again: rows that have their answer come from the cache, if answers are deterministic.",
        )


class NativeSeriesAccessor(SeriesAccessor):
    """Language-model verbs over the values of a series."""

    def __init__(self, series: Any) -> None:
        self._native = nw.from_native(series, series_only=True)

    @property
    def rows(self) -> Any:
        """The values as they are now."""
        return NativeSeriesRows(self._native.alias(self._native.name))  # a copy: narwhals' series cannot be cloned

    agg = agg_of_all
    aagg = awaitable(agg_of_all)


def native_accessor(data: object) -> NativeFrameAccessor | NativeSeriesAccessor:
    """Return the verbs for a frame or series that narwhals knows.

    Raises:
        OptionError: it is none, or a lazy one.
    """
    try:
        known: Any = nw.from_native(data, allow_series=True)
    except TypeError as error:
        raise OptionError(
            f"pagednb.frame takes a frame or series of pandas, Polars or Arrow, not {type(data).__name__}.",
            hint="Make one of it first, as pandas.DataFrame(rows) does.",
        ) from error
    if isinstance(known, nw.Series):
        return NativeSeriesAccessor(data)
    if isinstance(known, nw.LazyFrame):
        raise OptionError(
            f"pagednb.frame takes rows, and a {type(data).__name__} has none yet.",
            hint="Fetch them first: collect() of Polars, pl() or df() of DuckDB.",
        )
    return NativeFrameAccessor(data)
